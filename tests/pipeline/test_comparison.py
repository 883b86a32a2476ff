"""The comparison on a small project: what runs, what does not, what comes out."""

import csv
import json
import re
import shutil

import pytest
import yaml

from .conftest import ROOT

# An approach of one's own: this file, and its section in params.yaml.
TOY = '''"""Toy: the mean colour of a clip decides."""

import keras
from keras import layers

from har.models.parts.on_clips import classes_of, clip_input
from har.params import ApproachParams, PositiveInt


class Params(ApproachParams):
    """The `toy` section."""

    units: PositiveInt


def build(n_classes, shape, params, train, seed):
    """Build the network."""
    clips, x = clip_input(shape, train, seed)
    x = layers.Dense(params.units, activation="relu")(layers.GlobalAveragePooling3D()(x))
    return keras.Model(clips, classes_of(x, n_classes, shape, train), name="toy")
'''


def compare(project, *options: str) -> tuple[set[str], set[str]]:
    """Run the comparison; return its stages that ran, and the trials that were trained."""
    shutil.copy(project.path / "comparison/pipeline.yaml", project.path / "comparison/dvc.yaml")
    output = project.python("-m", "dvc", "repro", *options, "comparison/dvc.yaml").stdout
    ran = re.findall(r"^Running stage '(?:comparison/dvc.yaml:)?([\w@.-]+)'", output, re.MULTILINE)
    trained = re.findall(r"^\.work/trials/([\w-]+): epoch", output, re.MULTILINE)
    return {n for n in ran if n.startswith(("features", "trial", "compare"))}, set(trained)


def add_toy(project) -> None:
    (project.path / "har/models/toy.py").write_text(TOY)
    project.set(
        **{
            "toy": {"units": 4, "learning_rate": 0.01},
            "comparison.approaches": ["toy", "i3d"],
            "comparison.folds": [0],
            "backbones.i3d": {
                **{"count": 8, "step": 1, "windows": 2, "height": 32, "width": 32},
                **{"weights": "random", "sha256": None, "precision": "auto"},
            },
        }
    )


@pytest.fixture
def project(new_project):
    project = new_project()
    add_toy(project)
    return project


def test_every_approach_on_every_fold_and_nothing_twice(project):
    stages = {
        f"{name}@{approach}" for name in ("features", "trials") for approach in ("toy", "i3d")
    }
    trials = {f"{a}-{protocol}-0-27" for a in ("toy", "i3d") for protocol in ("group", "random")}
    assert compare(project) == (stages | {"compare"}, trials)
    assert not (project.path / "models/lrcn").exists(), "the comparison needs no model of its own"

    figures = json.loads((project.path / "metrics/comparison.json").read_text())
    assert figures["chance"] == 0.5
    assert set(figures["approaches"]) == {"toy", "i3d"}
    for name, row in figures["approaches"].items():
        for protocol in ("group", "random"):
            side = row[protocol]
            path = project.path / f"comparison/trials/{name}/{name}-{protocol}-0-27/predictions.csv"
            with path.open() as file:
                tested = list(csv.DictReader(file))
            right = sum(clip["actual"] == clip["predicted"] for clip in tested)
            assert side["accuracy"] == pytest.approx(right / len(tested), abs=1e-4)
            assert side["accuracy_low"] <= side["accuracy"] <= side["accuracy_high"]
            assert side["n_test"] == len(tested)
        gap = row["random"]["accuracy"] - row["group"]["accuracy"]
        assert row["gap"]["gap"] == pytest.approx(gap, abs=2e-4)
        assert row["latency_ms"] > 0
        assert row["train_seconds"] > 0
    assert figures["approaches"]["toy"]["parameters"] == 3 * 4 + 4 + 4 * 2 + 2
    backbone = figures["approaches"]["i3d"]
    assert backbone["parameters"] > 12_279_984, "the backbone counts"
    assert backbone["multiply_adds"] > 2 * 2e8, "two windows"
    table = (project.path / "metrics/comparison.md").read_text()
    assert table.count("\n| `") == 2
    for picture in ("accuracy", "classes", "shortcuts"):
        assert (project.path / f"metrics/comparison/{picture}.png").stat().st_size > 5000

    assert compare(project) == (set(), set())
    assert (project.path / "comparison/trials/toy/toy-group-0-27/shortcuts.csv").exists()
    assert not (project.path / "comparison/trials/toy/toy-random-0-27/shortcuts.csv").exists()

    # More folds are more trials. Old ones stay; one that is no longer named goes.
    project.set(**{"comparison.folds": [0, 1], "comparison.protocols": ["group"]})
    stages = {"trials@toy", "trials@i3d", "compare"}
    assert compare(project) == (stages, {"toy-group-1-27", "i3d-group-1-27"})
    left = sorted(folder.name for folder in (project.path / "comparison/trials/toy").iterdir())
    assert left == ["toy-group-0-27", "toy-group-1-27"]
    figures = json.loads((project.path / "metrics/comparison.json").read_text())
    assert len(figures["approaches"]["toy"]["group"]["trials"]) == 2
    assert "gap" not in figures["approaches"]["toy"]

    # The code and the knobs of one approach are its own.
    project.replace("har/models/toy.py", 'activation="relu"', 'activation="elu"')
    both = {"toy-group-0-27", "toy-group-1-27"}
    assert compare(project) == ({"trials@toy", "compare"}, both)
    project.set(**{"i3d.summary": ["mean"]})
    assert compare(project)[1] == {"i3d-group-0-27", "i3d-group-1-27"}

    # An edit of what tests a network trains none again.
    project.replace("har/evaluation/unknown.py", "how well a network tells", "how a network tells")
    assert compare(project) == ({"trials@toy", "trials@i3d", "compare"}, set())


@pytest.mark.slow
def test_two_machines_share_the_approaches(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    add_toy(project)
    shutil.copy(project.path / "comparison/pipeline.yaml", project.path / "comparison/dvc.yaml")
    project.dvc("remote", "add", "--default", "storage", str(tmp_path / "storage"))
    project.commit("two approaches")
    project.dvc("push")
    machines = {approach: project.clone(tmp_path / approach) for approach in ("toy", "i3d")}
    for approach, machine in machines.items():
        machine.dvc("repro", f"comparison/dvc.yaml:trials@{approach}")
        machine.commit(approach)
        machine.dvc("push")
    one = machines["toy"]
    one.run("git", "fetch", "-q", str(machines["i3d"].path), "main")
    assert "comparison/dvc.lock" in one.run("git", "merge", "FETCH_HEAD", check=False).stdout
    one.har("resolve")
    one.commit("both")
    assert compare(one, "--pull") == ({"compare"}, set())
    figures = json.loads((one.path / "metrics/comparison.json").read_text())
    assert set(figures["approaches"]) == {"toy", "i3d"}


def test_the_main_pipeline_stays_as_it_is(new_project):
    """Plain `dvc repro` knows nothing of trials, and no stage of it reads what they write."""
    main = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    for name, stage in main["stages"].items():
        for path in ("comparison/", "data/features", "stages/trials.py", "stages/compare.py"):
            assert not any(dep.startswith(path) for dep in stage["deps"]), f"{name} reads {path}"
    project = new_project()
    listed = project.python("-m", "dvc", "repro", "--dry", check=False).stdout
    assert "fetch" in listed
    assert "trials@" not in listed
    assert "compare" not in listed


def test_a_comparison_that_was_not_made_is_not_missing(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    assert "up to date" in project.dvc("status").stdout
    project.dvc("checkout")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "Received: nothing"),
        (["lrcn", "group"], "Received: lrcn group"),
        (["lrnc"], "Did you mean lrcn?"),
        (["lrcn"], "Expected a file of frames at data/frames.h5"),
    ],
)
def test_a_mistake_is_one_line(new_project, argv, says):
    done = new_project().python("stages/trials.py", *argv, check=False)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert says in line
