import csv
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from har import errors, files
from har.errors import UserError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(json_values, max_size=3))
def test_digest_depends_on_values_alone(parts):
    key = files.digest(*parts)
    assert len(key) == 16
    assert int(key, 16) >= 0
    assert files.digest(*json.loads(json.dumps(parts))) == key


@given(st.lists(json_values, max_size=3), st.lists(json_values, max_size=3))
def test_digest_tells_parts_apart(one, other):
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (files.digest(*one) == files.digest(*other)) == same


def test_digest_does_not_depend_on_the_order_of_keys():
    assert files.digest({"a": 1, "b": 2}) == files.digest({"b": 2, "a": 1})


def test_a_file_counts_with_its_bytes_and_not_its_name(in_tmp_path):
    one, other = Path("one"), Path("other")
    one.write_bytes(b"same")
    other.write_bytes(b"same")
    assert files.digest(one) == files.digest(other) != files.digest("one")
    other.write_bytes(b"else")
    assert files.digest(one) != files.digest(other)
    assert files.file_sha256(one) == hashlib.sha256(b"same").hexdigest()


def test_a_module_counts_with_its_source():
    assert files.digest(errors) == files.digest(Path(errors.__file__)) != files.digest(files)


def test_folder_is_below_the_working_directory(in_tmp_path):
    path = files.folder("a", "b")
    assert path.resolve() == in_tmp_path / ".work/a/b"
    assert path.is_dir()
    assert files.folder("a", "b") == path


@pytest.mark.parametrize("old", [None, "file", "folder", "link to a folder"])
def test_publish_a_folder_over_anything(in_tmp_path, old):
    output = Path("deep/output")
    output.parent.mkdir()
    if old == "file":
        output.write_text("old")
    elif old:
        real = Path("elsewhere") if "link" in old else output
        real.mkdir()
        (real / "old").write_text("old")
        if real != output:
            output.symlink_to(real.resolve())
    finished = Path("finished")
    finished.mkdir()
    (finished / "new").write_text("new")
    if old in ("file", "link to a folder"):
        # A folder cannot replace a file by rename; nothing is lost in the attempt.
        with pytest.raises(NotADirectoryError):
            files.publish(finished, output)
        assert (finished / "new").read_text() == "new"
        return
    files.publish(finished, output)
    assert [path.name for path in output.iterdir()] == ["new"]
    assert not finished.exists()
    assert not list(Path(".work").glob("replaced/*"))


@pytest.mark.parametrize("exists", [False, True])
def test_publish_a_file(in_tmp_path, exists):
    output, finished = Path("a/b/output"), Path("finished")
    if exists:
        output.parent.mkdir(parents=True)
        output.write_text("old")
    finished.write_text("new")
    files.publish(finished, output)
    assert output.read_text() == "new"
    assert not finished.exists()


def test_write_text_is_utf_8_with_lf_and_leaves_nothing_else(in_tmp_path):
    files.write_text(Path("a/b.txt"), "Größe\nzwei\n")
    assert Path("a/b.txt").read_bytes() == "Größe\nzwei\n".encode()
    assert [path.name for path in Path("a").iterdir()] == ["b.txt"]


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"))


@given(rows=st.lists(st.lists(cells, min_size=2, max_size=2)))
def test_csv_round_trip(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "table.csv"
    files.write_csv(path, ["one", "two"], rows)
    with path.open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [["one", "two"], *rows]
    assert b"\r" not in path.read_bytes()


def test_csv_writes_nothing_for_none(in_tmp_path):
    files.write_csv(Path("t.csv"), ("a", "b"), [(None, 0), ("x, y", 'say "z"')])
    assert Path("t.csv").read_text() == 'a,b\n,0\n"x, y","say ""z"""\n'


def test_clean_removes_work_and_says_what_became_free(in_tmp_path):
    assert files.clean() == {}
    (files.folder("extract", "key") / "a.h5").write_bytes(b"x" * 1000)
    (files.folder("downloads") / "b").write_bytes(b"y" * 10)
    Path("output.h5").hardlink_to(".work/extract/key/a.h5")
    (files.folder("extract") / "c").write_bytes(b"z" * 7)
    assert files.clean(["extract"]) == {"extract": 7}
    assert files.clean() == {"downloads": 10}
    assert list(files.ROOT.iterdir()) == []
    assert Path("output.h5").stat().st_size == 1000


def test_clean_of_a_part_that_is_not_there(in_tmp_path):
    files.folder("downloads")
    with pytest.raises(UserError, match=r"\.work: downloads\. Received: extrct"):
        files.clean(["extrct"])
    assert Path(".work/downloads").is_dir()
