import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest

from har.clips import segments
from har.clips.segments import Segment
from har.datasets import table
from har.errors import UserError
from har.params import DatasetParams


def film(path: Path, frames: int = 50, fps: int = 25) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, fps, (32, 32))
    for value in range(frames):
        writer.write(np.full((32, 32, 3), value % 256, np.uint8))
    writer.release()
    return path


@pytest.fixture
def lists(tmp_path) -> Path:
    """A folder with two films of 2 s, one in a sub-folder of the same name."""
    film(tmp_path / "lists/a.avi")
    film(tmp_path / "lists/deep/a.avi")
    return tmp_path / "lists"


def fetch(lists: Path, text: str | bytes, **params) -> dict[str, Segment]:
    data = text if isinstance(text, bytes) else text.encode()
    (lists / "clips.csv").write_bytes(data)
    section = DatasetParams(name="table", path=lists / "clips.csv", **params)
    table.fetch(section, lists.parent / "out")
    found = segments.read(lists.parent / "out")
    assert all(segment.row > 1 for segment in found.values())
    return {name: segment._replace(row=None) for name, segment in found.items()}


def test_whole_videos(lists, tmp_path):
    found = fetch(lists, "path,class\na.avi,Jump\ndeep/a.avi,Run\n")
    assert found == {
        "Jump/a.avi": Segment("_sources/a.avi", 0.0, None, "a.avi"),
        "Run/a-2.avi": Segment("_sources/a-2.avi", 0.0, None, "a-2.avi"),
    }
    assert (tmp_path / "out/_sources/a.avi").samefile(lists / "a.avi")
    assert (tmp_path / "out/_sources/a-2.avi").samefile(lists / "deep/a.avi")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "_sources",
        "segments.csv",
    ]


def test_segments_of_one_video_are_linked_once(lists, tmp_path):
    text = (
        "class,path,start,end,fold,group\n"
        "Jump,a.avi,0,0.5,0,anna\nRun,a.avi,0.5,1.25,1,\n_background,a.avi,1.5,,,\nRun,a.avi,,,,\n"
    )
    assert fetch(lists, text) == {
        "Jump/a_0-0.5.avi": Segment("_sources/a.avi", 0.0, 0.5, "anna", 0),
        "Run/a_0.5-1.25.avi": Segment("_sources/a.avi", 0.5, 1.25, "a.avi", 1),
        "_background/a_1.5-end.avi": Segment("_sources/a.avi", 1.5, None, "a.avi"),
        "Run/a.avi": Segment("_sources/a.avi", 0.0, None, "a.avi"),
    }
    assert [path.name for path in (tmp_path / "out/_sources").iterdir()] == ["a.avi"]
    assert (tmp_path / "out/segments.csv").read_text().splitlines()[:2] == [
        "clip,class,group,source,start,end,fold,row",
        "Jump/a_0-0.5.avi,Jump,anna,_sources/a.avi,0,0.5,0,2",
    ]


def test_groups_by_name_and_by_pattern(lists):
    film(lists / "v_Jump_g07_c02.avi")
    film(lists / "anna-1.avi")
    text = "path,class,start,end\nv_Jump_g07_c02.avi,Jump,0,1\nanna-1.avi,Jump,1,2\n"
    assert [s.group for s in fetch(lists, text).values()] == ["g07", "anna-1.avi"]
    found = fetch(lists, text, group_pattern="^([a-z]+)-")
    assert [s.group for s in found.values()] == ["v_Jump_g07_c02.avi", "anna"]


def test_a_subset_of_the_classes(lists, tmp_path):
    text = "path,class\na.avi,Jump\ndeep/a.avi,Run\n"
    assert list(fetch(lists, text, classes=("Run",))) == ["Run/a.avi"]
    with pytest.raises(UserError, match=r"\(Jump, Run\). Received: Fly"):
        fetch(lists, text, classes=("Fly",))


def test_names_that_would_be_equal_stay_apart(lists):
    film(lists / "a_0-1.avi")
    text = "path,class,start,end\na_0-1.avi,Jump,,\na.avi,Jump,0,1\nA_0-1.AVI,Jump,,\n"
    film(lists / "A_0-1.AVI")
    found = fetch(lists, text)
    assert len({name.casefold() for name in found}) == 3
    assert len({s.source.casefold() for s in found.values()}) == 3


@pytest.mark.parametrize("stored", ["NFC", "NFD"])
@pytest.mark.parametrize("written", ["NFC", "NFD"])
def test_byte_order_mark_and_coding_of_accents(lists, stored, written):
    film(lists / unicodedata.normalize(stored, "Höhe é.avi"))
    row = unicodedata.normalize(written, "Höhe é.avi,Höhe")
    found = fetch(lists, f"\ufeffpath,class\r\n{row}\r\n")
    assert found == {
        "H\u00f6he/H\u00f6he \u00e9.avi": Segment(
            "_sources/H\u00f6he \u00e9.avi", 0.0, None, "H\u00f6he \u00e9.avi"
        )
    }


def test_absolute_paths_and_quotes(lists, tmp_path):
    film(tmp_path / "far, away/b.avi")
    found = fetch(lists, f'path,class\n"{tmp_path}/far, away/b.avi",Jump\n')
    assert list(found) == ["Jump/b.avi"]


def test_links_keep_their_names(lists, tmp_path):
    (lists / "a.avi").rename(tmp_path / "0123abcd")  # as in DVC's cache
    (lists / "a.avi").symlink_to(tmp_path / "0123abcd")
    (lists / "again.avi").symlink_to(tmp_path / "0123abcd")
    text = "path,class,start,end\na.avi,Jump,,\nagain.avi,Jump,0,1\n"
    assert list(fetch(lists, text)) == ["Jump/a.avi", "Jump/a_0-1.avi"]
    assert [path.name for path in (tmp_path / "out/_sources").iterdir()] == ["a.avi"]


def test_columns_that_are_not_used_are_named(lists, capsys):
    fetch(lists, "path,class,strat\na.avi,Jump,1\n")
    assert "the columns strat are not used" in capsys.readouterr().out


HEAD = "path,class,group,start,end,fold\na.avi,Jump,,0,1,\n"
WRONG = {
    "missing file": ("b.avi,Jump,,,,", "row 3: expected a video's path", "b.avi: no file"),
    "folder": ("deep,Jump,,,,", "row 3", "deep: no file"),
    "no path": (",Jump,,,,", "row 3", "nothing: no file"),
    "no class": ("a.avi,,,,,", "row 3: expected a class", "nothing"),
    "class with slash": ("a.avi,a/b,,,,", "row 3: expected a class", "a/b"),
    "class that leads out": ("a.avi,..,,,,", "row 3: expected a class", ".."),
    "class that is taken": ("a.avi,_sources,,,,", "row 3", "_sources"),
    "end before start": ("a.avi,Jump,,1.5,0.5,", "row 3: expected end after start (1.5 s)", "0.5"),
    "no length": ("a.avi,Jump,,1,1,", "row 3: expected end after start", "1"),
    "negative": ("a.avi,Jump,,-1,1,", "row 3, start: expected seconds", "-1"),
    "word": ("a.avi,Jump,,1,soon,", "row 3, end: expected seconds", "soon"),
    "not finite": ("a.avi,Jump,,1,inf,", "row 3, end: expected seconds", "inf"),
    "not a number": ("a.avi,Jump,,nan,1,", "row 3, start: expected seconds", "nan"),
    "fold": ("a.avi,Jump,,,,one", "row 3: expected a fold", "one"),
    "two classes": ("a.avi,Run,,0,1,", "row 3: expected every segment once", "as Jump there"),
    "twice": ("deep/../a.avi,Jump,,0.0,1.0,", "row 3: expected every segment once", "row 2 again"),
    "too many cells": ("a.avi,Jump,,0,1,,,7", "row 3: expected 6 columns", "7"),
}


@pytest.mark.parametrize(("row", "expected", "received"), WRONG.values(), ids=WRONG)
def test_wrong_rows_are_named(lists, row, expected, received):
    with pytest.raises(UserError) as raises:
        fetch(lists, f"{HEAD}{row}\n")
    message = str(raises.value)
    assert expected in message
    assert received in message.split("Received: ")[1]
    assert "\n" not in message


TABLES = {
    "empty": (b"", "nothing, without path, class"),
    "header alone": (b"path,class\n", "the header alone"),
    "semicolons": (b"path;class\na;b\n", "path;class, without path, class"),
    "no class": (b"path,label\na.avi,Jump\n", "path, label, without class"),
    "not UTF-8": (b"path,class\n\xff.avi,Jump\n", "can't decode byte"),
    "zero byte": (b"path,class\na\0.avi,Jump\n", ""),
    "open quote": (b'path,class\n"a.avi,Jump\n', "unexpected end of data"),
}


@pytest.mark.parametrize(("data", "received"), TABLES.values(), ids=TABLES)
def test_files_that_are_no_table(lists, data, received):
    with pytest.raises(UserError, match=r"clips\.csv") as raises:
        fetch(lists, data)
    assert received in str(raises.value)
    assert "\n" not in str(raises.value)


def test_no_table(lists):
    for path in ("nowhere.csv", "."):
        with pytest.raises(UserError):
            table.fetch(DatasetParams(name="table", path=lists / path), lists.parent / "out")


def test_a_run_that_was_killed_leaves_no_link(lists, tmp_path):
    fetch(lists, "path,class\na.avi,Jump\ndeep/a.avi,Run\n")
    fetch(lists, "path,class\na.avi,Jump\n")
    assert [path.name for path in (tmp_path / "out/_sources").iterdir()] == ["a.avi"]


def test_a_thousand_rows_of_ten_videos_are_quick(tmp_path):
    for index in range(10):
        film(tmp_path / f"lists/{index}.avi", frames=2500, fps=25)
    rows = [
        f"{index % 10}.avi,C{index % 7},{index // 10},{index // 10 + 0.9}" for index in range(990)
    ]
    found = fetch(tmp_path / "lists", "path,class,start,end\n" + "\n".join(rows) + "\n")
    assert len(found) == 990
    assert len(list((tmp_path / "out/_sources").iterdir())) == 10
