import csv
import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from har import files
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


def test_what_is_no_value_is_refused():
    """A module would count with its address in memory or its path, and not with its source."""
    assert files.digest({"path": Path("a/b")}) == files.digest({"path": "a/b"})
    for part in (files, object(), {1, 2}):
        with pytest.raises(TypeError, match=r"os\.PathLike"):
            files.digest(part)


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
    assert [path.name for path in output.parent.iterdir()] == ["output"]


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


WRITER = """
import sys
from pathlib import Path
from har import files
for _ in range(200):
    files.write_text(Path("note.json"), sys.argv[1] * 1000)
"""


def test_two_processes_may_write_one_file(in_tmp_path):
    """A reader sees one of the two texts, never a mixture, and neither writer fails."""
    env = {**os.environ, "PYTHONPATH": str(Path(files.__file__).parents[1])}
    command = [sys.executable, "-c", WRITER]
    writers = [subprocess.Popen([*command, letter], env=env) for letter in "ab"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if Path("note.json").exists():
            seen.add(Path("note.json").read_text())
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen <= {"a" * 1000, "b" * 1000}
    assert [path.name for path in Path().iterdir()] == ["note.json"]


def test_a_write_that_fails_leaves_the_old_file(in_tmp_path, monkeypatch):
    files.write_text(Path("a.txt"), "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        files.write_text(Path("a.txt"), "new")
    assert Path("a.txt").read_text() == "old"
    assert [path.name for path in Path().iterdir()] == ["a.txt"]


def test_publish_to_another_disk(in_tmp_path, monkeypatch):
    """A rename between disks fails with EXDEV: the bytes are copied first, then renamed."""
    rename, moved = os.rename, []

    def other_disk(source, target):
        if Path(source).resolve().is_relative_to(in_tmp_path / "work"):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        moved.append(target)
        rename(source, target)

    finished = Path("work/finished")
    finished.mkdir(parents=True)
    (finished / "new").write_text("new")
    (in_tmp_path / "output").mkdir()
    monkeypatch.setattr(os, "rename", other_disk)
    files.publish(finished, Path("output"))
    assert Path("output/new").read_text() == "new"
    assert moved
    assert sorted(path.name for path in Path().iterdir()) == ["output", "work"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "does not exist"),
        (b"", "it is empty"),
        (b"a,b\n1\n", "row 2 has 1 fields"),
        (b"a,b\n1,2,3\n", "row 2 has 3 fields"),
        (b"a,c\n1,2\n", "it has no column b"),
        (b"a,b\nx,2\n", "invalid literal for int"),
        (b"\xffa,b\n", "is damaged"),
        (b'a,b\n"1,2\n', "is damaged"),
    ],
)
def test_a_damaged_table_is_one_line(in_tmp_path, content, reason):
    if content is not None:
        Path("t.csv").write_bytes(content)
    with pytest.raises(UserError, match=reason):
        files.read_csv(Path("t.csv"), {"a": int, "b": str})


@pytest.mark.parametrize("content", [None, b"", b"[1]", b"{", b"\xff", b"[" * 100_000])
def test_a_damaged_object_is_one_line(in_tmp_path, content):
    if content is not None:
        Path("card.json").write_bytes(content)
    with pytest.raises(UserError, match=r"card\.json (is damaged|does not exist)"):
        files.read_json(Path("card.json"))


def test_json_round_trip(in_tmp_path):
    files.write_json(Path("a/b.json"), {"ü": [1, None, "x"]})
    assert files.read_json(Path("a/b.json")) == {"ü": [1, None, "x"]}
    assert "ü" in Path("a/b.json").read_text(encoding="utf-8")


STAGE = """
import sys, time
from har.files import run_stage
def stage():
    print("runs", flush=True)
    time.sleep(float(sys.stdin.readline()))
run_stage(stage)
"""


@pytest.fixture
def start(in_tmp_path):
    """Start a stage that lasts as many seconds as it is told."""
    Path("stage.py").write_text(STAGE)
    path = os.pathsep.join([str(Path(files.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    running = []

    def begin(*arguments: str, **variables: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "stage.py", *arguments],
            env={**os.environ, "PYTHONPATH": path, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def test_a_stage_does_not_run_beside_one_of_the_same_command(start):
    first = start("lrcn")
    assert first.stdout.readline() == "runs\n"
    second = start("lrcn")
    said = second.communicate("0\n", timeout=60)
    end = f"End it with `kill {first.pid}` and run the same command again: it continues.\n"
    assert said == ("", f"Error: `stage.py lrcn` still runs as process {first.pid}. {end}")
    assert second.returncode == 2
    assert start("convlstm").communicate("0\n", timeout=60) == ("runs\n", "")  # another command
    first.kill()
    first.wait()
    assert start("lrcn").communicate("0\n", timeout=60) == ("runs\n", "")


@pytest.mark.parametrize("note", ["", "no number", "1", "99999999", "own", "-1"])
def test_a_note_of_another_process_is_no_hindrance(start, note):
    assert start("lrcn").communicate("0\n", timeout=60) == ("runs\n", "")
    (lock,) = Path(".work/running").iterdir()
    lock.write_text(str(os.getpid()) if note == "own" else note)
    assert start("lrcn").communicate("0\n", timeout=60) == ("runs\n", "")
