"""The JSON door and the bounds of the server, as a program meets them."""

import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
import wave
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import predictor_models as small
import psutil
import pytest

from har.app.limits import Limits, is_public
from har.app.service import Desk
from har.errors import UserError
from har.predictor.prediction import Settings, predict
from har.predictor.recogniser import Recogniser

pytest.importorskip("gradio", reason="Gradio, the extra app, is not installed")
av = pytest.importorskip("av", reason="PyAV, the extra app's, is not installed")


def get(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=30) as response:
        return response.read()


def test_health(server):
    answer = json.loads(get(f"{server.url}/health"))
    assert answer == {"status": "ok", "models": ["lrcn", "convlstm"]}


@pytest.mark.parametrize("model", ["lrcn", "convlstm"])
def test_an_upload_gives_what_the_file_gives(server, project, ask, model):
    recogniser = Recogniser.open(project / "models" / model)
    for seed in range(3):
        path = project / f"clip{seed}.avi"
        answer, error = ask(server, path, model=model)
        assert error is None
        expected = predict(recogniser, path, Settings(), "").overall
        assert list(answer["probabilities"]) == small.CLASSES
        found = np.array(list(answer["probabilities"].values()))
        assert np.abs(found - expected).max() < 1e-5
        assert answer["kind"] == "clip"
        assert answer["milliseconds"] > 0


def test_the_documented_commands_work(server, project, tmp_path):
    page = Path(__file__).resolve().parents[2] / "docs/recogniser.md"
    (commands,) = re.findall(r"^```\n(S=http.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    commands = commands.replace("http://127.0.0.1:7860", server.url)
    shutil.copy(project / "clip0.avi", tmp_path / "clip.avi")
    process = subprocess.run(
        ["bash", "-c", commands], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert "event: complete" in process.stdout, process
    (answer,) = json.loads(re.findall(r"^data: (.*)$", process.stdout, re.MULTILINE)[-1])
    assert answer["kind"] == "clip"
    assert set(answer["probabilities"]) == set(small.CLASSES)


@pytest.fixture
def files(project):
    """A server of the project's files that counts what is asked of it."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=project)

        def do_GET(self):
            asked.append(self.path)
            if "silence" in self.path:
                time.sleep(40)
            super().do_GET()

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}", asked
    running.shutdown()


def test_a_url_gives_what_the_file_gives(server, project, ask, files):
    answer, _ = ask(server, None, url=f"{files[0]}/clip1.avi")
    expected, _ = ask(server, project / "clip1.avi")
    assert answer["probabilities"] == expected["probabilities"]


def bad_files(folder: Path) -> dict[str, str]:
    (folder / "text.mp4").write_text("hello " * 100)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "noise.avi").write_bytes(np.random.default_rng(0).bytes(9999))
    return {
        "text.mp4": "a text file, not a video",
        "empty.mp4": "empty",
        "noise.avi": "not a video that FFmpeg reads",
    }


def test_bad_files_are_one_line_and_the_page_stays_alive(server, project, tmp_path, ask):
    for name, reason in bad_files(tmp_path).items():
        try:
            answer, error = ask(server, tmp_path / name)
        except urllib.error.HTTPError as refused:
            answer, error = None, refused.read().decode()
        assert answer is None
        assert reason in json.dumps(error).lower() or reason in json.dumps(error), name
        assert "Traceback" not in json.dumps(error)
    assert ask(server, project / "clip0.avi")[1] is None


def cut_film(path: Path, write_video) -> None:
    write_video(path, small.moving(50, 1), codec="mp4v")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def sound(path: Path, _) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(b"\0\1" * 8000)


def half(path: Path, write_video) -> None:
    write_video(path, small.moving(50, 1))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def varying(path: Path, _) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 72, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for frame, at in zip(small.moving(6, 1), (0, 40, 500, 540, 2000, 2040), strict=True):
            picture = av.VideoFrame.from_ndarray(frame, "rgb24")
            picture.pts, picture.time_base = at, Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


ODD = {
    "cut.mp4": (cut_film, "not a video that FFmpeg reads"),
    "sound.wav": (sound, "not a video that FFmpeg reads"),
    "half.avi": (half, None),
    "one.avi": (lambda path, write: write(path, small.moving(1, 1)), None),
    "4k.avi": (lambda path, write: write(path, small.moving(3, 1, 2160, 3840)), None),
    "varying.mkv": (varying, None),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_files_are_answered_or_refused_in_one_line(server, tmp_path, write_video, ask, name):
    make, reason = ODD[name]
    make(tmp_path / name, write_video)
    answer, error = ask(server, tmp_path / name)
    if reason is None:
        assert error is None
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-6)
    else:
        assert reason in json.dumps(error)
        assert "Traceback" not in json.dumps(error)


def test_a_header_that_hides_its_length_is_not_believed(tmp_path, write_video):
    # At 1,000 frames a second, by its header and times, two hours of film take no time at all.
    path = write_video(tmp_path / "hasty.avi", small.moving(300, 1), fps=1000)
    desk = Desk(tmp_path, tmp_path / "metrics.json", Limits(minutes=0.05))
    with pytest.raises(UserError, match="300 frames, more than 180"):
        desk._check(path)
    desk.close()


def test_an_address_that_never_answers_holds_up_nobody(server, project, ask, files):
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(ask, server, None, f"{files[0]}/silence.avi")
        time.sleep(1)
        assert ask(server, project / "clip0.avi")[1] is None
        assert json.loads(get(f"{server.url}/health"))["status"] == "ok"
        assert not waiting.done()
        answer, error = waiting.result(30)
    assert answer is None
    assert "Received: no answer." in json.dumps(error)


def test_what_is_too_long_too_large_or_too_fine_is_refused(server, tmp_path, write_video, ask):
    write_video(tmp_path / "long.avi", small.moving(70, 1), fps=1)
    assert "1.2 minutes, more than 1" in json.dumps(ask(server, tmp_path / "long.avi")[1])
    write_video(tmp_path / "fine.avi", np.zeros((2, 3600, 3600, 3), np.uint8))
    assert "3600 x 3600 pixels, too many" in json.dumps(ask(server, tmp_path / "fine.avi")[1])
    (tmp_path / "large.avi").write_bytes(bytes(5_000_001))
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(server, tmp_path / "large.avi")
    assert refused.value.code == 413


def test_no_path_that_was_not_uploaded_is_read(server, project, ask):
    for path in (project / "clip0.avi", "/etc/passwd", project / "models/lrcn/card.json"):
        answer, error = ask.call(server, str(path))
        assert answer is None
        assert "root:" not in json.dumps(error)
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(f"{server.url}/gradio_api/file={path}")
        assert refused.value.code in (403, 404)


def test_an_address_in_place_of_a_file_is_not_fetched(server, ask, files):
    # Gradio would, without a bound of size or time.
    answer, error = ask.call(server, f"{files[0]}/clip1.avi")
    assert answer is None
    assert "an address in its place" in json.dumps(error)
    assert files[1] == []


def test_a_camera_too_many_is_refused_until_another_leaves(project):
    limits = Limits(lives=1)
    desk = Desk(project / "models", project / "metrics/metrics.json", limits)
    frame = small.moving(1, 1)[0]
    desk.look("first", frame, "lrcn", 0.0)
    with pytest.raises(UserError, match="at most 1 cameras at a time"):
        desk.look("second", frame, "lrcn", 1.0)
    desk.look("second", frame, "lrcn", 30.0)  # the first has been silent for half a minute
    with pytest.raises(UserError):
        desk.look("first", frame, "lrcn", 31.0)
    desk.leave("second")
    desk.look("first", frame, "lrcn", 32.0)
    desk.close()


def test_frames_of_a_camera_may_come_at_once(project):
    desk = Desk(project / "models", project / "metrics/metrics.json", Limits())
    frames = small.moving(40, 1)
    with ThreadPoolExecutor(4) as threads:
        seen = list(threads.map(lambda i: desk.look("one", frames[i], "lrcn", i * 0.04), range(40)))
    assert all(glance.probabilities.sum() == pytest.approx(1) for glance in seen)
    desk.close()


@pytest.mark.parametrize("model", ["../models/lrcn", "nothing", "/etc", "lrcn/../convlstm"])
def test_only_models_that_are_listed(server, project, ask, model):
    answer, error = ask(server, project / "clip0.avi", model=model)
    assert answer is None
    assert error


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "clip0.avi"])
def test_only_web_addresses(server, ask, url):
    answer, error = ask(server, None, url=url)
    assert answer is None
    assert "http://" in json.dumps(error)


# A server takes seconds to start: the same two show how one ends.
@pytest.mark.parametrize("how", [("--host", "0.0.0.0"), ("--public",)])
def test_a_public_server_fetches_nothing_from_inside_and_leaves_no_file(
    start, project, ask, files, how
):
    server = start(project, *how)
    base, asked = files
    answer, error = ask(server, None, url=f"{base}/clip1.avi")
    assert answer is None
    assert "an address inside the server's network" in json.dumps(error)
    assert asked == []
    assert ask(server, project / "clip0.avi")[1] is None
    left = {p for p in (project / "temporary").iterdir() if p.name.startswith("har-")}
    server.process.send_signal(signal.SIGINT)
    server.process.wait(30)
    assert sum(not p.exists() for p in left) == 1


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("127.0.0.1", False),
        ("::1", False),
        ("localhost", False),
        ("0.0.0.0", True),
        ("::", True),
        ("192.168.1.5", True),
        ("example.org", True),
    ],
)
def test_who_can_reach_a_server(host, public):
    assert is_public(host) is public


def test_it_listens_here_alone(server):
    port = int(server.url.rsplit(":", 1)[1])
    listening = [
        c.laddr.ip
        for c in psutil.Process(server.process.pid).net_connections("tcp")
        if c.status == "LISTEN" and c.laddr.port == port
    ]
    assert listening == ["127.0.0.1"]


def test_eight_people_at_once(server, project, ask):
    process = psutil.Process(server.process.pid)
    expected = {seed: ask(server, project / f"clip{seed}.avi")[0] for seed in range(3)}
    before = process.memory_info().rss
    said = len(server.lines)
    ends = time.monotonic() + 5

    def visit(person: int) -> tuple[int, int]:
        right = refused = 0
        while time.monotonic() < ends:
            seed = (person + right) % 3
            answer, _ = ask(server, project / f"clip{seed}.avi")
            if answer is None:
                refused += 1
                continue
            assert answer["probabilities"] == pytest.approx(
                expected[seed]["probabilities"], abs=1e-5
            )
            right += 1
        return right, refused

    with ThreadPoolExecutor(8) as people:
        results = list(people.map(visit, range(8)))
    assert all(right > 0 for right, _ in results)
    assert process.memory_info().rss - before < 100e6
    assert json.loads(get(f"{server.url}/health"))["status"] == "ok"
    assert server.lines[said:] == []


def test_files_of_visitors_are_swept_and_examples_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    desk = Desk(tmp_path, tmp_path / "metrics.json", Limits(keep_seconds=600))
    example = tmp_path / "Jump.mp4"
    example.write_bytes(b"example")
    desk.examples = [example]
    files = {
        "old": desk.uploads / "a" / "clip.avi",
        "example": desk.uploads / "b" / "Jump.mp4",
        "fresh": desk.uploads / "c" / "clip.avi",
        "film": desk.films / "d" / "recognised.mp4",
    }
    for name, path in files.items():
        path.parent.mkdir()
        path.write_bytes(b"example")
        if name != "fresh":
            os.utime(path, (0, time.time() - 700))
    desk.sweep()
    assert [name for name, path in files.items() if path.exists()] == ["example", "fresh"]
    desk.close()
    assert not desk.folder.exists()


def test_a_taken_port_is_one_line(project, run_python):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code = (
            "import sys; sys.argv[1:] = ['serve', '--port', sys.argv[1]]\n"
            "from har.cli import main; main()"
        )
        process = run_python(code, taken.getsockname()[1], cwd=project)
    assert process.returncode == 2
    assert process.stderr.startswith("Error: Expected a free port at 127.0.0.1:")
    assert process.stderr.count("\n") == 1


def test_without_gradio_is_one_line(project, run_python):
    code = (
        "import sys; sys.modules['gradio'] = None; sys.argv[1:] = ['serve', '--port', '0']\n"
        "from har.cli import main; main()"
    )
    process = run_python(code, cwd=project)
    assert process.returncode == 2
    assert 'pip install "har[app]"' in process.stderr
    assert "Traceback" not in process.stderr


def test_without_a_model_is_one_line(tmp_path, run_python):
    code = "import sys; sys.argv[1:] = ['serve', '--port', '0']; from har.cli import main; main()"
    process = run_python(code, cwd=tmp_path)
    assert process.returncode == 2
    assert "Expected a model in models. Received: none." in process.stderr
