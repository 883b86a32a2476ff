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


def compare(project, *names: str) -> list[str]:
    """Run the comparison and return the stages that really ran, without the pipeline's own."""
    shutil.copy(project.path / "comparison/pipeline.yaml", project.path / "comparison/dvc.yaml")
    output = project.python("-m", "dvc", "repro", "comparison/dvc.yaml").stdout
    ran = re.findall(r"^Running stage '(?:comparison/dvc.yaml:)?([\w@.-]+)'", output, re.MULTILINE)
    return [name for name in ran if name.startswith(("features", "trial", "compare"))]


@pytest.fixture
def project(new_project):
    project = new_project()
    (project.path / "har/models/toy.py").write_text(TOY)
    project.set(
        **{
            "toy": {"units": 4, "learning_rate": 0.01},
            "frames.count": 4,
            "train.frames": 2,
            "train.epochs": 2,
            "comparison.approaches": ["toy", "i3d"],
            "comparison.folds": [0],
            "backbones.i3d": {
                **{"count": 8, "step": 1, "windows": 2, "height": 32, "width": 32},
                **{"weights": "random", "sha256": None},
            },
        }
    )
    return project


def test_every_approach_on_every_fold_and_nothing_twice(project):
    trials = {
        f"trial@{approach}-{protocol}-0-27"
        for approach in ("toy", "i3d")
        for protocol in ("group", "random")
    }
    made = {"features@toy", "features@i3d"}
    assert set(compare(project)) == trials | made | {"compare"}
    assert not (project.path / "models/lrcn").exists(), "the comparison needs no model of its own"

    figures = json.loads((project.path / "metrics/comparison.json").read_text())
    assert figures["chance"] == 0.5
    assert set(figures["approaches"]) == {"toy", "i3d"}
    for name, row in figures["approaches"].items():
        for protocol in ("group", "random"):
            side = row[protocol]
            path = project.path / f"comparison/trials/{name}-{protocol}-0-27/predictions.csv"
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
    for picture in ("accuracy", "pareto", "classes"):
        assert (project.path / f"metrics/comparison/{picture}.png").stat().st_size > 5000

    assert compare(project) == []

    # Cross-validation: more folds are more trials, and the old ones stay.
    project.set(**{"comparison.folds": [0, 1], "comparison.protocols": ["group"]})
    assert set(compare(project)) == {
        "trial@toy-group-1-27",
        "trial@i3d-group-1-27",
        "compare",
    }
    figures = json.loads((project.path / "metrics/comparison.json").read_text())
    assert len(figures["approaches"]["toy"]["group"]["trials"]) == 2
    assert "gap" not in figures["approaches"]["toy"]

    # The code and the knobs of one approach are its own.
    project.replace("har/models/toy.py", 'activation="relu"', 'activation="elu"')
    assert set(compare(project)) == {
        "trial@toy-group-0-27",
        "trial@toy-group-1-27",
        "compare",
    }
    project.set(**{"i3d.summary": ["mean"]})
    ran = set(compare(project))
    assert ran >= {"trial@i3d-group-0-27"}
    assert not any("toy" in name or name.startswith("features") for name in ran)


def test_the_main_pipeline_stays_as_it_is(new_project):
    """Plain `dvc repro` knows nothing of trials, and no stage of it reads what they write."""
    main = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    for name, stage in main["stages"].items():
        for path in ("comparison/", "data/features", "stages/trial.py", "stages/compare.py"):
            assert not any(dep.startswith(path) for dep in stage["deps"]), f"{name} reads {path}"
    project = new_project()
    listed = project.python("-m", "dvc", "repro", "--dry", check=False).stdout
    assert "fetch" in listed
    assert "trial@" not in listed
    assert "compare" not in listed


def test_a_comparison_that_was_not_made_is_not_missing(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    assert "up to date" in project.dvc("status").stdout
    project.dvc("checkout")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "Expected an approach, a protocol, a fold and a seed"),
        (["lrcn", "group", "first", "27"], "Received: lrcn group first 27"),
        (["lrnc", "group", "0", "27"], "Did you mean lrcn?"),
        (["lrcn", "group", "0", "27"], "data/split.csv does not exist. Run "),
    ],
)
def test_a_mistake_is_one_line(new_project, argv, says):
    done = new_project().python("stages/trial.py", *argv, check=False)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert says in line
