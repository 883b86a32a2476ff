import csv
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import predictor_models as small
import pytest

from har import cli
from har.clips.video import even_indices, shrink
from har.predictor import live, sources
from har.predictor.recogniser import Recogniser

av = pytest.importorskip("av", reason="PyAV, the extra video, is not installed")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return small.save(small.frame_by_frame(), folder / "lrcn", unknown_below=-1e9)


@pytest.fixture
def plug_in(monkeypatch):
    """Let a camera film given frames at 25 a second, and then be unplugged."""

    def plug(frames):
        clock = [0.0]

        class Camera:
            def __init__(self, number):
                assert number == 3
                self.left = list(frames)

            def isOpened(self):  # noqa: N802
                return True

            def set(self, *_):
                return False

            def read(self):
                if not self.left:
                    return False, None
                clock[0] += 0.04
                return True, cv2.cvtColor(self.left.pop(0), cv2.COLOR_RGB2BGR)

            def release(self):
                self.left = None

        monkeypatch.setattr(sources.cv2, "VideoCapture", Camera)
        monkeypatch.setattr(sources.time, "monotonic", lambda: clock[0])

    return plug


@pytest.fixture
def har(model, monkeypatch, capsys, in_tmp_path):
    def run(*arguments: object):
        words = ["har", "predict", "camera:3", *map(str, arguments), "--model", str(model)]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as left:
            cli.main()
        said = capsys.readouterr()
        return left.value.code, said.out, said.err

    return run


def test_a_camera_that_is_not_there(in_tmp_path, model, run_python):
    code = (
        "import sys; sys.argv = ['har', 'predict', *sys.argv[1:]]; from har.cli import main; main()"
    )
    process = run_python(code, "camera:9", "--model", model, cwd=in_tmp_path)
    assert process.returncode == 2
    assert process.stdout == ""
    assert process.stderr.startswith("Error: camera:9 does not open: ")
    assert process.stderr.count("\n") == 1


def test_unplugged_half_way(har, plug_in):
    plug_in(small.moving(50, 1))
    code, out, err = har("--csv", "seen.csv", "--srt", "seen.srt")
    assert code == 2
    assert err.splitlines()[-1] == (
        "Error: camera:3 gave no more frames after 2.0 s. Plug it in again and restart."
    )
    assert out.splitlines()[0].startswith("lrcn: 3 actions")
    assert out.splitlines()[1].split()[1] in small.CLASSES
    # What was seen until then is kept.
    with Path("seen.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["end"]) == pytest.approx(1.8, abs=0.2)
    assert "-->" in Path("seen.srt").read_text()


def test_a_camera_answers_as_a_file_does(har, plug_in, model, monkeypatch):
    monkeypatch.setattr(live, "_SLOW", np.inf)
    # A clip of 50 frames and one more: then all ticks of a window of 2 s have passed.
    frames = small.moving(51, 2)
    plug_in(frames)
    code, out, _ = har("--json", "--top", 3, "--window", 2)
    assert code == 2  # it was unplugged in the end
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["seconds"] for answer in answers] == pytest.approx([0.2 * i for i in range(11)])
    recogniser = Recogniser.open(model)
    picked = frames[even_indices(50, small.SHAPE[0])]
    scaled = np.stack([shrink(frame, *small.SHAPE[1:]) for frame in picked])
    expected = recogniser.probabilities(scaled[None])[0]
    found = {t["class"]: t["probability"] for t in answers[-1]["top"]}
    assert found == pytest.approx(dict(zip(small.CLASSES, expected, strict=True)), abs=1e-5)
    assert all(answer["milliseconds"] > 0 for answer in answers)


def test_leaving_by_ctrl_c(har, plug_in, monkeypatch):
    frames = small.moving(60, 1)

    plug_in([])

    def interrupted(camera, seconds):
        yield from ((i / 25, frame) for i, frame in enumerate(frames))
        raise KeyboardInterrupt

    monkeypatch.setattr(sources.Camera, "frames", interrupted)
    code, _, err = har("--csv", "seen.csv", "--video", "seen.mp4")
    assert (code, err) == (0, "")
    assert Path("seen.csv").exists()
    with av.open("seen.mp4") as film:
        assert len(list(film.decode(video=0))) == 60
