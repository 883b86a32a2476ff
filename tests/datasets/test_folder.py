import os
from pathlib import Path

import pytest

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
    assert folder.find_classes(clips) == ["Jump", "Run", "Swim"]


def test_links_in_the_folder_lead_to_their_clips(clips, destination, tmp_path):
    (tmp_path / "elsewhere.avi").write_bytes(b"linked")
    (clips / "Jump/link.avi").symlink_to(tmp_path / "elsewhere.avi")
    (clips / "Jump/broken.avi").symlink_to(tmp_path / "nowhere.avi")
    found = fetch(clips, destination)
    assert found["Jump/link.avi"].read_bytes() == b"linked"
    assert "Jump/broken.avi" not in found


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
        folder.link(clips / "Jump/a.avi", target)
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
    with pytest.raises(UserError, match=r"dataset.classes: expected folders") as caught:
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
