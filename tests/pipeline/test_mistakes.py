"""A user's mistake is one clear line and exit code 2; a bad file is a row, not a crash."""

import csv

import pytest

from .conftest import film


def keep_class0(project):
    for file in (project.path / "videos/Class1").iterdir():
        file.unlink()


def spoil_class1(project):
    for file in (project.path / "videos/Class1").iterdir():
        file.write_bytes(b"")


MISTAKES = [
    # stages to run before, stage, params, other preparation, what the line says
    ([], "fetch", {"dataset.path": "nowhere"}, None, "dataset.path"),
    ([], "fetch", {"dataset.path": "params.yaml"}, None, "which is a file"),
    ([], "fetch", {"dataset.classes": ["Clas0"]}, None, "Class0, Class1"),
    ([], "fetch", {"dataset.name": "sample", "dataset.classes": ["Sit"]}, None, "SitDown"),
    ([], "fetch", {"dataset.name": "ucf5"}, None, "'sample'"),
    ([], "fetch", {"frames.count": 0}, None, "frames.count"),
    ([], "fetch", {"frames.cuont": 3}, None, "Did you mean count?"),
    ([], "fetch", {"split.fold": 5}, None, "fold"),
    ([], "extract", {}, None, "dvc repro fetch"),
    ([], "split", {}, None, "data/clips.csv"),
    (["fetch"], "extract", {}, spoil_class1, "Class1"),
    (["fetch", "extract"], "split", {"split.folds": 6}, None, "split.folds"),
    (["fetch", "extract"], "split", {}, keep_class0, "two classes"),
]


@pytest.mark.parametrize(("before", "stage", "params", "prepare", "says"), MISTAKES)
def test_a_mistake_is_one_line(new_project, before, stage, params, prepare, says):
    project = new_project()
    if prepare:
        prepare(project)
    for name in before:
        project.python(f"stages/{name}.py")
    project.set(**params)
    done = project.python(f"stages/{stage}.py", check=False)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    # A wrong value is named; of a missing file the line says what to run.
    assert "Received: " in line or "does not exist. Run " in line


@pytest.mark.parametrize("argv", [[], ["resnet"], ["lrcn", "convlstm"]])
def test_train_names_the_approaches(new_project, argv):
    done = new_project().python("stages/train.py", *argv, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: Expected an approach: ")
    for name in ("convlstm", "convlstm_tutorial", "lrcn", "lrcn_tutorial"):
        assert f" {name}," in line
    assert f"Received: {' '.join(argv) or 'nothing'}. " in line


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"frames.count": 5}, "train.frames: expected 5 (frames.count) or a number that divides"),
        ({"lrcn.widht": 3}, "the unknown key lrcn.widht. Did you mean width?"),
        ({"lrcn.train": {"frames": 1}}, "at least 2, because lrcn.see is motion"),
    ],
)
def test_train_names_what_is_wrong_with_an_approach(new_project, params, says):
    project = new_project()
    project.set(**params)
    done = project.python("stages/train.py", "lrcn", check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert says in line
    assert "Received: " in line


def test_bad_files_are_named_and_the_rest_is_trained_on(new_project):
    project = new_project()
    videos = project.path / "videos"
    good = sorted((videos / "Class0").iterdir())[0].read_bytes()
    (videos / "Class0/v_Class0_g01_c07.avi").write_bytes(b"")
    (videos / "Class0/v_Class0_g01_c08.avi").write_text("not a video")
    (videos / "Class0/v_Class0_g01_c09.avi").write_bytes(good[: len(good) // 2])
    film(videos / "Class1/v_Class1_g02_c09.avi", seed=77, n_frames=1)
    (videos / "Class1/notes.txt").write_text("shot in June")
    assert project.repro()[-1] == "evaluate"
    with (project.path / "data/rejected.csv").open() as file:
        rejected = {row["clip"]: row["reason"] for row in csv.DictReader(file)}
    assert rejected.pop("Class0/v_Class0_g01_c07.avi") == "empty file"
    assert set(rejected) >= {"Class0/v_Class0_g01_c08.avi", "Class1/notes.txt"}
    with (project.path / "data/clips.csv").open() as file:
        clips = {row["clip"]: int(row["n_frames"]) for row in csv.DictReader(file)}
    assert clips["Class1/v_Class1_g02_c09.avi"] == 1
    total = sum(1 for file in videos.glob("Class*/*") if file.is_file())
    assert len(clips) + len(rejected) + 1 == total, "every file is a clip or rejected"
