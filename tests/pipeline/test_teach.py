"""`har teach` on a small project: from a folder of clips to a tested model."""

import csv
import json
import re

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import har
from har.backbones.feature_store import FeatureStore
from har.clips import splits

from .conftest import fill

SHOWN = {"count": 8, "step": 1, "windows": 2}
BOUND = 1e-5


@pytest.fixture(scope="module")
def taught(new_project):
    """A project that `har teach` was run in, and what it printed."""
    project = new_project()
    fill(project.path / "mine")
    small = {"height": 32, "width": 32, "weights": "random", "sha256": None, "precision": "auto"}
    project.set(**{"backbones.i3d": small | SHOWN, "dataset.name": "sample"})
    return project, project.har("teach", "mine").stdout


def ran(printed: str) -> list[str]:
    return re.findall(r"^Running stage '(?:.*:)?([\w-]+)'", printed, re.MULTILINE)


def logits(x: np.ndarray, labels: np.ndarray, strength: float, seen: np.ndarray) -> np.ndarray:
    """Return the logits (N, 2) that a logistic regression of standardised features gives `seen`."""
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale == 0] = 1
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=5000, tol=1e-8)
    half = model.fit((x - mean) / scale, labels).decision_function((seen - mean) / scale) / 2
    return np.stack([-half, half], axis=1)


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_it_runs_what_it_needs_and_nothing_twice(taught):
    project, printed = taught
    assert ran(printed) == ["fetch", "extract", "split", "features", "teach"]
    assert "i3d" in printed.split("accuracy", 1)[1], "the figures are shown"
    assert not (project.path / "models/lrcn").exists()
    assert ran(project.har("teach", "mine").stdout) == []


def test_the_model_recognises_as_the_classifier_that_was_fitted_on_all_clips(taught, monkeypatch):
    project, _ = taught
    monkeypatch.chdir(project.path)
    recogniser = har.Recogniser.open("models/i3d")
    card = recogniser.card
    with FeatureStore(project.path / "data/features/i3d.h5") as store:
        features, labels = store.read(store.clips)
        clips = store.clips
    features = features.astype(np.float64)
    x = np.hstack([features.mean(axis=(1, 2)), features.std(axis=2).mean(axis=1)])
    expected = softmax(logits(x, labels, card["strength"], x) / card["temperature"])
    for row in range(0, len(clips), 7):
        found = recogniser.predict(project.path / "data/fetched" / clips[row]).overall
        np.testing.assert_allclose(found, expected[row], atol=BOUND)


def test_every_clip_is_tested_once_by_a_classifier_that_did_not_see_its_group(taught):
    project, _ = taught
    with (project.path / "metrics/i3d/predictions.csv").open() as file:
        tested = {row["clip"]: row for row in csv.DictReader(file)}
    figures = json.loads((project.path / "metrics/teach.json").read_text())["i3d"]
    right = sum(row["actual"] == row["predicted"] for row in tested.values())
    assert figures["accuracy"] == pytest.approx(right / len(tested), abs=1e-4)
    assert not [name for name in figures if "ms" in name.split("_") or "seconds" in name]
    with FeatureStore(project.path / "data/features/i3d.h5") as store:
        features, labels = store.read(store.clips)
        rows = {clip: row for row, clip in enumerate(store.clips)}
    assert set(tested) == set(rows)
    features = features.astype(np.float64)
    x = np.hstack([features.mean(axis=(1, 2)), features.std(axis=2).mean(axis=1)])
    # The strength of a fold and its temperature are not written, but neither changes who is right.
    split = project.path / "data/split.csv"
    train, validation, test = splits.read(split, "group", 0)
    fitted = [rows[clip] for clip in (*train, *validation)]
    seen = [rows[clip] for clip in test]
    candidates = []
    for strength in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0):
        found = logits(x[fitted], labels[fitted], strength, x[seen]).argmax(axis=1)
        candidates.append([("Class0", "Class1")[i] for i in found])
    assert [tested[clip]["predicted"] for clip in test] in candidates


def test_a_folder_that_is_not_there_is_one_line(new_project):
    done = new_project().har("teach", "nowhere", check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: Expected a folder of clips or a table")
    assert "Received: nowhere" in line
