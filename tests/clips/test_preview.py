from pathlib import Path

import numpy as np
import pytest

from har import files
from har.clips import preview, store
from har.clips.store import Clip
from har.errors import UserError

DATA = Path("data")


def clip(name: str, group: str, sha256: str, n_frames: int = 50, fps: float = 25.0) -> Clip:
    return Clip(name, name.split("/")[0], group, sha256, n_frames, fps, 320, 240)


@pytest.fixture
def data(in_tmp_path) -> list[Clip]:
    """Two classes; Run/c repeats Run/a's bytes, Jump/d Run/a's frames."""
    clips = [
        clip("Jump/d.avi", "g02", "4", 75),
        clip("Jump/e.avi", "g03", "5", 25, 0.0),
        clip("Run/a.avi", "g01", "1"),
        clip("Run/b.avi", "g01", "2", 100),
        clip("Run/c.avi", "g02", "1"),
    ]
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (5, 4, 16, 16, 3), dtype=np.uint8)
    frames[0] = frames[4] = frames[2]
    DATA.mkdir()
    names, labels = [c.clip for c in clips], [c.label for c in clips]
    offsets = store.create(DATA / "frames.h5", names, labels, (4, 16, 16))
    with (DATA / "frames.h5").open("r+b") as file:
        for offset, pixels in zip(offsets, frames, strict=True):
            file.seek(offset)
            file.write(pixels.tobytes())
    store.write_clips(DATA / "clips.csv", clips)
    files.write_csv(
        DATA / "rejected.csv", ("clip", "class", "reason"), [("Run/x.avi", "Run", "empty file")]
    )
    return clips


def test_the_report(data):
    lines = list(preview.report(DATA))
    table = [line.split() for line in lines[:4]]
    assert table[0] == list(preview._HEADS)
    assert table[1] == ["Jump", "2", "2", "3.0", "3.0", "25,", "?", "320x240", "0"]
    assert table[2] == ["Run", "3", "2", "8.0", "2.0", "25", "320x240", "1"]
    assert table[3] == ["all", "5", "4", "11.0", "2.5", "25,", "?", "320x240", "1"]
    assert "  Run/x.avi: empty file" in lines
    assert "  Run/a.avi = Run/c.avi" in lines
    assert "  0%  Jump/d.avi ~ Run/a.avi" in lines
    assert "  0%  Jump/d.avi ~ Run/c.avi" in lines
    assert lines[-1] == "With split.merge_duplicates their groups stand on one side of the split."


def test_tables_of_different_runs(data):
    store.write_clips(DATA / "clips.csv", data[1:])
    with pytest.raises(UserError, match="have 5 and 4 clips of different runs"):
        list(preview.report(DATA))


def test_long_lists_are_cut():
    lines = list(preview._listed("Head", [str(i) for i in range(25)]))
    assert lines[1] == "Head"
    assert lines[-1] == "  and 5 more"
    assert len(lines) == 2 + 20 + 1
