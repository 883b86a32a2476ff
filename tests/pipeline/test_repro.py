"""`dvc repro` on a small project: what runs, what does not, and that it is the same every time."""

import json
import time

import pytest

from .conftest import film, processor_seconds

ALL = ["fetch", "extract", "split", "train-convlstm", "train-lrcn", "evaluate"]


def edit(name, old, new):
    return lambda project: project.replace(name, old, new)


def change(key, value):
    return lambda project: project.set(**{key: value})


EDITS = [
    ("nothing", lambda project: None, []),
    (
        "frames.count",
        change("frames.count", 6),
        # The split looks for near-duplicates among the frames.
        ["extract", "split", "train-convlstm", "train-lrcn", "evaluate"],
    ),
    ("a knob of lrcn", change("lrcn.units", 5), ["train-lrcn", "evaluate"]),
    ("a knob of convlstm", change("convlstm.learning_rate", 0.01), ["train-convlstm", "evaluate"]),
    (
        "the code of lrcn",
        edit("har/models/lrcn.py", "use_cudnn=False)", "use_cudnn=False, unit_forget_bias=False)"),
        ["train-lrcn", "evaluate"],
    ),
    ("split.fold", change("split.fold", 1), ["train-convlstm", "train-lrcn", "evaluate"]),
    (
        "a comment in plots",
        edit("har/plots.py", "import matplotlib\n", "import matplotlib  # draws\n"),
        ["evaluate"],
    ),
    (
        "a new clip in the user's folder",
        lambda project: film(project.path / "videos/Class0/v_Class0_g01_c03.avi", seed=999),
        ALL,
    ),
]


def test_a_change_runs_the_stages_that_depend_on_it_and_no_other(new_project):
    project = new_project()
    assert sorted(project.repro()) == sorted(ALL)
    figures = json.loads((project.path / "metrics/metrics.json").read_text())
    assert set(figures) == {"convlstm", "lrcn"}
    # No time of this machine: the same on any other.
    for row in figures.values():
        assert not {word for name in row for word in name.split("_")} & {
            "ms",
            "s",
            "seconds",
            "time",
            "latency",
        }
        assert {"accuracy", "accuracy_low", "accuracy_high", "parameters", "multiply_adds"} <= set(
            row
        )
    for what, make, expected in EDITS:
        make(project)
        start = processor_seconds()
        # DVC runs the two trainings in either order.
        assert sorted(project.repro()) == sorted(expected), what
        if not expected:
            assert processor_seconds() - start < 3, "a repro with nothing to do takes under 3 s"


@pytest.mark.parametrize(
    ("file", "stale"),
    [
        ("har/nn/conv_lstm2d.py", {"train-convlstm", "evaluate"}),
        ("har/backbones/feature_store.py", set()),
        ("har/training/linear.py", set()),
        ("har/models/i3d.py", set()),
        ("stages/teach.py", set()),
    ],
)
def test_an_edit_makes_stale_what_uses_the_module(finished, tmp_path, file, stale):
    project = finished.copy(tmp_path / "project")
    with (project.path / file).open("a") as code:
        code.write("\n# edited\n")
    changed = json.loads(project.dvc("status", "--json").stdout)
    assert set(changed) == stale


@pytest.mark.parametrize(
    ("key", "value", "name", "trained"),
    [
        ("split.fold", 1, "fold", "0"),
        ("seed", 28, "seed", "27"),
        ("split.protocol", "random", "protocol", "group"),
    ],
)
def test_evaluate_refuses_a_model_of_another_training(
    finished, tmp_path, key, value, name, trained
):
    """A model of another fold may have learnt from the clips that would test it."""
    project = finished.copy(tmp_path / "project")
    before = (project.path / "metrics/metrics.json").read_bytes()
    project.set(**{key: value})
    done = project.python("stages/evaluate.py", check=False)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    wanted = f"Expected a model with the {name} {value} in models/convlstm. Received: {trained}. "
    assert wanted in line
    assert (project.path / "metrics/metrics.json").read_bytes() == before


def test_evaluate_refuses_a_model_of_other_classes(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    card = project.path / "models/lrcn/card.json"
    text = card.read_text().replace("Class1", "Class2")
    card.unlink()  # a link into the cache
    card.write_text(text)
    done = project.python("stages/evaluate.py", check=False)
    assert done.returncode == 2, done.stderr
    wanted = "the classes ['Class0', 'Class1'] in models/lrcn. Received: ['Class0', 'Class2']"
    assert wanted in done.stderr


def test_two_fresh_clones_end_with_the_same_bytes(new_project):
    locks = []
    for _ in range(2):
        project = new_project()
        project.repro()
        locks.append(project.lock()["stages"])
    for stage in ALL:
        first, second = ({out["path"]: out["md5"] for out in lock[stage]["outs"]} for lock in locks)
        assert first == second, stage


@pytest.mark.parametrize("victim", ["train-lrcn"])
def test_a_stage_killed_half_way_goes_on_and_ends_with_the_same_bytes(new_project, victim):
    """Kill training after its first epochs; the next repro resumes it."""
    import signal
    import subprocess
    import sys

    unbroken, killed = new_project(), new_project()
    for project in (unbroken, killed):
        project.set(**{"train.epochs": 40})
        project.python("-m", "dvc", "repro", "split")
    unbroken.python("stages/train.py", "lrcn")
    process = subprocess.Popen(
        [sys.executable, "stages/train.py", "lrcn"],
        cwd=killed.path,
        env=killed.env,
        stderr=subprocess.DEVNULL,
    )
    backups = killed.path / ".work/train/lrcn-group-0-27"
    deadline = time.monotonic() + 60
    while not list(backups.glob("*.npz")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed.path / "models/lrcn").exists(), "half-trained output"
    assert list(backups.glob("*.npz")), "no epoch was finished before the kill"
    killed.python("stages/train.py", "lrcn")
    for name in ("model.keras", "history.csv", "card.json"):
        expected = (unbroken.path / "models/lrcn" / name).read_bytes()
        assert (killed.path / "models/lrcn" / name).read_bytes() == expected, name
