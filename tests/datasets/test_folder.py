import os
import tempfile
import unicodedata
from pathlib import Path

import pytest

from har import files
from har.datasets import folder
from har.errors import UserError
from har.params import DatasetParams


@pytest.fixture
def clips(tmp_path) -> Path:
    root = tmp_path / "my clips"
    for name in ("Jump/a.avi", "Jump/b.MP4", "Run/deep/c.mkv", "Swim/ünï 1.avi"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    for name in ("README.md", "Jump/.DS_Store", ".git/config", "Run/.cache/x.avi", ".x/y.avi"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"hidden, or of no class")
    (root / "Empty").mkdir()
    (root / "OnlyHidden").mkdir()
    (root / "OnlyHidden/.keep").write_bytes(b"")
    return root


@pytest.fixture
def destination(tmp_path) -> Path:
    path = tmp_path / "fetched"
    path.mkdir()
    return path


def fetch(path: Path, destination: Path, classes: tuple[str, ...] = ()) -> dict[str, Path]:
    folder.fetch(DatasetParams(name="folder", path=path, classes=classes), destination)
    files = (file for file in destination.rglob("*") if not file.is_dir())
    return {file.relative_to(destination).as_posix(): file for file in files}


def test_clips_are_the_same_files_and_no_copies(clips, destination):
    found = fetch(clips, destination)
    assert sorted(found) == ["Jump/a.avi", "Jump/b.MP4", "Run/deep/c.mkv", "Swim/ünï 1.avi"]
    for name, file in found.items():
        assert file.samefile(clips / name)
        assert not file.is_symlink()
        assert file.read_bytes() == name.encode()


def test_the_folder_is_left_as_it_was(clips, destination):
    before = {path: path.stat().st_mtime_ns for path in clips.rglob("*")}
    fetch(clips, destination)
    assert {path: path.stat().st_mtime_ns for path in clips.rglob("*")} == before


def test_a_subset_of_the_classes(clips, destination):
    assert sorted(fetch(clips, destination, ("Swim", "Run"))) == [
        "Run/deep/c.mkv",
        "Swim/ünï 1.avi",
    ]


def test_classes_are_folders_with_clips(clips):
    assert {name.split("/")[0] for name in folder.find_clips(clips)} == {"Jump", "Run", "Swim"}


def test_links_in_the_folder_lead_to_their_clips(clips, destination, tmp_path):
    (tmp_path / "elsewhere.avi").write_bytes(b"linked")
    (clips / "Jump/link.avi").symlink_to(tmp_path / "elsewhere.avi")
    (clips / "Jump/broken.avi").symlink_to(tmp_path / "nowhere.avi")
    found = fetch(clips, destination)
    assert found["Jump/link.avi"].read_bytes() == b"linked"
    assert not found["Jump/broken.avi"].exists()  # which `extract` rejects by its name


def test_a_relative_path_and_one_that_is_a_link(clips, destination, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(clips)
    (tmp_path / "second").mkdir()
    assert sorted(fetch(Path("my clips"), destination)) == sorted(
        fetch(Path("link"), tmp_path / "second")
    )


def test_a_run_that_was_killed_goes_on(clips, destination):
    expected = sorted(fetch(clips, destination))
    (destination / "Jump/b.MP4").unlink()
    found = fetch(clips, destination)
    assert sorted(found) == expected
    assert all(file.samefile(clips / name) for name, file in found.items())


def test_across_file_systems_clips_are_linked_by_name(clips):
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == clips.stat().st_dev:
        pytest.skip("there is no second file system to link across")
    target = other / f"har-test-{os.getpid()}.avi"
    try:
        files.link(clips / "Jump/a.avi", target, symbolic=True)
        assert target.is_symlink()
        assert target.read_bytes() == b"Jump/a.avi"
    finally:
        target.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("wrong", "received"),
    [
        (("Fly",), "Fly"),
        (("Run", "run", "Fly"), "run, Fly"),
        (("Empty",), "Empty"),
        (("..",), ".."),
    ],
)
def test_a_class_that_is_not_there(clips, destination, wrong, received):
    with pytest.raises(UserError, match=r"dataset.classes: expected classes of") as caught:
        fetch(clips, destination, wrong)
    assert "(Jump, Run, Swim)" in str(caught.value)
    assert f"Received: {received}. " in str(caught.value)
    assert list(destination.iterdir()) == []


def nothing(path):
    pass


def a_file(path):
    path.write_bytes(b"x")


def files_without_class(path):
    path.mkdir()
    (path / "clip.avi").write_bytes(b"x")


def empty_classes(path):
    (path / "Run").mkdir(parents=True)


@pytest.mark.parametrize(
    ("make", "received"),
    [
        (nothing, "does not exist"),
        (a_file, "is a file"),
        (Path.mkdir, "no file in any sub-folder"),
        (files_without_class, "no file in any sub-folder"),
        (empty_classes, "no file in any sub-folder"),
    ],
)
def test_paths_that_hold_no_classes(tmp_path, destination, make, received):
    path = tmp_path / "clips"
    make(path)
    with pytest.raises(UserError, match=r"dataset.path: expected .* Received: .*clips") as caught:
        fetch(path, destination)
    assert received in str(caught.value)


def fill(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def test_what_systems_leave_behind_is_no_class_and_no_clip(tmp_path, destination):
    junk = (
        "@eaDir/x.avi",
        "$RECYCLE.BIN/x.avi",
        "System Volume Information/x.avi",
        ".Trashes/x.avi",
        "lost+found/x.avi",
        "__MACOSX/Jump/a.avi",
        "Jump/Thumbs.db",
        "Jump/desktop.ini",
        "Jump/@eaDir/a.avi",
        "Jump/._a.avi",
        ".DS_Store",
    )
    root = fill(tmp_path / "clips", "Jump/a.avi", "_background/b.avi", *junk)
    assert sorted(fetch(root, destination)) == ["Jump/a.avi", "_background/b.avi"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_have_one_coding_of_accents(tmp_path, destination, form):
    label, clip = (unicodedata.normalize(form, text) for text in ("Höhe", "é.avi"))
    root = fill(tmp_path / "clips", f"{label}/{clip}")
    for name in ("NFC", "NFD"):
        wanted = (unicodedata.normalize(name, "Höhe"),)
        assert list(fetch(root, destination, wanted)) == ["H\u00f6he/\u00e9.avi"]


def test_a_class_in_two_codings_is_one_class(tmp_path, destination):
    root = fill(tmp_path / "clips", "H\u00f6he/a.avi", "Ho\u0308he/b.avi")
    assert sorted(fetch(root, destination)) == ["H\u00f6he/a.avi", "H\u00f6he/b.avi"]
    fill(root, "Ho\u0308he/a.avi")
    with pytest.raises(UserError, match="have the same name"):
        fetch(root, destination)


def test_a_name_that_is_not_utf_8_is_named(tmp_path, destination):
    root = fill(tmp_path / "clips", "Jump/a.avi")
    Path(os.fsdecode(os.fsencode(root) + b"/Jump/\xff.avi")).write_bytes(b"x")
    with pytest.raises(UserError, match=r"udcff.avi' is not UTF-8"):
        fetch(root, destination)


@pytest.fixture
def nobody():
    """Act as a user without rights, in a folder that such a user reaches."""
    if os.geteuid():
        yield Path(tempfile.mkdtemp())
        return
    root = Path(tempfile.mkdtemp())
    os.chown(root, 65534, 65534)
    os.seteuid(65534)
    yield root
    os.seteuid(0)


@pytest.mark.parametrize("unreadable", ["B", "A/deep"])
def test_an_unreadable_folder_is_named_and_not_left_out(nobody, unreadable):
    root = fill(nobody / "clips", "A/a.avi", "A/deep/c.avi", "B/b.avi")
    (root / unreadable).chmod(0)
    try:
        with pytest.raises(UserError, match=f"{root / unreadable} cannot be read") as caught:
            fetch(root, nobody / "out")
        assert "\n" not in str(caught.value)
    finally:
        (root / unreadable).chmod(0o700)
    assert len(fetch(root, nobody / "out")) == 3


def test_linked_folders_are_followed_and_named(tmp_path, destination, capsys):
    fill(tmp_path, "elsewhere/b.avi", "clips/A/a.avi", "more/c.avi")
    (tmp_path / "clips/B").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "clips/A/deep").symlink_to(tmp_path / "more")
    assert sorted(fetch(tmp_path / "clips", destination)) == [
        "A/a.avi",
        "A/deep/c.avi",
        "B/b.avi",
    ]
    os.mkfifo(tmp_path / "clips/A/pipe.avi")
    assert "A/pipe.avi" not in fetch(tmp_path / "clips", destination)
    said = capsys.readouterr().out
    assert f"{tmp_path / 'clips/A/pipe.avi'} is left out: it is no file." in said
    assert f"{tmp_path / 'clips/B'} is a link" in said
    assert f"{tmp_path / 'clips/A/deep'} is a link" in said
    (tmp_path / "clips/A/up").symlink_to(tmp_path / "clips")
    with pytest.raises(UserError, match=r"A/up is a link to a folder that holds it"):
        fetch(tmp_path / "clips", destination)


def test_clips_that_are_gone_leave_no_link_of_a_killed_run(tmp_path, destination):
    root = fill(tmp_path / "clips", "A/a.avi", "A/b.avi")
    fetch(root, destination)
    (root / "A/b.avi").unlink()
    assert list(fetch(root, destination)) == ["A/a.avi"]


@pytest.mark.parametrize("sides", [("train", "test"), ("Train", "valid", "test"), ("train",)])
def test_kaggle_s_layout_is_joined(tmp_path, destination, capsys, sides):
    names = [f"{side}/{label}/a.avi" for side in sides for label in ("Jump", "Run")]
    root = fill(tmp_path / "clips", *names)
    found = fetch(root, destination)
    assert {name: file.read_bytes().decode() for name, file in found.items()} == {
        f"{label}/{side}/a.avi": f"{side}/{label}/a.avi"
        for side in sides
        for label in ("Jump", "Run")
    }
    assert "hold the same 2 classes. They are joined" in capsys.readouterr().out


@pytest.mark.parametrize(
    "names",
    [
        ("train/Jump/a.avi", "train/Run/a.avi", "test/Jump/b.avi"),
        ("train/Jump/a.avi", "test/b.avi"),
        ("train/a.avi", "val/b.avi"),
        ("train/Jump/a.avi", "test/Jump/b.avi", "labels/list.txt"),
        ("train/Jump/a.avi", "train/loose.avi", "test/Jump/b.avi"),
    ],
)
def test_sides_that_do_not_match_are_refused_in_one_line(tmp_path, destination, names):
    root = fill(tmp_path / "clips", *names)
    with pytest.raises(UserError, match=r"train, val and test that hold the same") as caught:
        fetch(root, destination)
    assert "\n" not in str(caught.value)


def test_a_class_may_be_called_train(tmp_path, destination):
    root = fill(tmp_path / "clips", "bus/a.avi", "train/a.avi", "car/a.avi")
    assert sorted(fetch(root, destination)) == ["bus/a.avi", "car/a.avi", "train/a.avi"]
