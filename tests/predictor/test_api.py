"""The public names as docs/api.md shows them: its examples, and results in a notebook."""

import doctest
import html.parser
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import predictor_models as small
import pytest

import har
from har.predictor import markup

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(in_tmp_path, write_video) -> Path:
    """A folder with the model and the videos of the page."""
    facts = {"dataset": {"name": "sample"}}
    small.save(small.frame_by_frame(), in_tmp_path / "models/lrcn", **facts)
    write_video(in_tmp_path / "clip.avi", small.moving(50, 0))
    write_video(in_tmp_path / "long.avi", small.moving(150, 1))
    return in_tmp_path


def test_the_examples_of_the_page(folder):
    done = doctest.testfile(
        str(ROOT / "docs/api.md"), module_relative=False, optionflags=doctest.ELLIPSIS
    )
    assert done.attempted > 12
    assert done.failed == 0


class _Tags(html.parser.HTMLParser):
    """Checks that every tag is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def shown(prediction: har.Prediction) -> str:
    text = prediction._repr_html_()
    tags = _Tags()
    tags.feed(text)
    assert tags.open == []
    return text


def test_a_clip_in_a_notebook(folder):
    recogniser = har.Recogniser.open("lrcn")
    of_file, of_frames = (recogniser.predict(it) for it in ("clip.avi", small.moving(50, 0)))
    for text in map(shown, (of_file, of_frames)):
        assert of_file.label in text
        assert len(re.findall(r"width:[\d.]+em;height", text)) == 3  # bars
    assert "data:image/jpeg;base64," in shown(of_file)
    assert "<img" not in shown(of_frames)
    Path("clip.avi").unlink()  # a prediction outlives its file
    assert "<img" not in shown(of_file)


def test_a_timeline_in_a_notebook(folder):
    actions = [("Jump & <b>", 0, 2.0), ("unknown", None, 3.0), ("Run", 1, 6.0)]
    starts = np.cumsum([0, *(seconds for _, _, seconds in actions)]).tolist()
    segments = [
        har.predictor.timeline.Segment(start, start + seconds, label, 0.9)
        for start, (_, label, seconds) in zip(starts, actions, strict=False)
    ]
    rows = np.full((1, 2), 0.5)
    names = ["Jump & <b>", "Run"]
    familiar = np.ones(1)
    found = har.Prediction(
        "x.avi", "timeline", [(0.0, 11.0)], rows, familiar, segments, names, "lrcn"
    )
    assert [(a.name, a.start, a.end) for a in found.actions] == [
        *[("Jump & <b>", 0.0, 2.0), ("unknown", 2.0, 5.0), ("Run", 5.0, 11.0)]
    ]
    assert found.label == "Run"  # it holds longest
    text = shown(found)
    assert "Jump &amp; &lt;b&gt;" in text
    widths = re.findall(r"width:([\d.]+)%;background", text)
    assert sum(map(float, widths)) == pytest.approx(100, abs=0.01)
    assert re.findall(r'data-at="([\d.]+)"', text) == ["0.000", "2.000", "5.000"]
    assert re.findall(r"padding-left:2px\">([\d:]+)<", text)[:3] == ["0:00", "0:02", "0:04"]


def test_twenty_classes_have_twenty_colours_in_the_strip():
    names = [f"class {i}" for i in range(20)]
    segments = [
        har.predictor.timeline.Segment(i, i + 1, label, 0.9)
        for i, label in enumerate([*range(20), None, 0])
    ]
    spans = [(0.0, 22.0)]
    shares, familiar = np.ones((1, 20)) / 20, np.ones(1)
    found = har.Prediction("", "timeline", spans, shares, familiar, segments, names, "lrcn")
    strip = markup.timeline(found).split("</div></div>")[0]
    colours = re.findall(r"background:([^\"]+)\"", strip)
    assert len(colours) == 22
    assert len(set(colours[:20])) == 20
    assert colours[20] not in colours[:20]
    assert colours[21] == colours[0]


def test_frames_may_be_a_list(folder):
    recogniser = har.Recogniser.open("lrcn")
    frames = small.moving(30, 2)
    one, other = recogniser.predict(frames), recogniser.predict(list(frames))
    assert np.array_equal(one.probabilities, other.probabilities)


@pytest.mark.slow
def test_a_user_sees_the_types(tmp_path):
    pytest.importorskip("mypy", reason="mypy, the extra dev, is not installed")
    (tmp_path / "user.py").write_text(
        "import har\n"
        'recogniser = har.Recogniser.open("kinetics")\n'
        'prediction = recogniser.predict("clip.mp4")\n'
        "reveal_type(prediction)\n"
        "reveal_type(prediction.actions[0].start)\n"
        "reveal_type(prediction.top(3))\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "user.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PATH": "", "MYPYPATH": str(ROOT), "HOME": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"har.predictor.prediction.Prediction"' in done.stdout
    assert '"list[tuple[str, float]]"' in done.stdout
