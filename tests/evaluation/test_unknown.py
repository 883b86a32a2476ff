import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from har.evaluation import unknown
from har.nn import familiarity

CLASSES = ["A", "B", "C"]


def made(seed=0, spread=1.0, n=60):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    x = spread * rng.normal(size=(n, 8)) + 3 * np.eye(8)[labels]
    known = familiarity.fit(spread * rng.normal(size=(n, 8)) + 3 * np.eye(8)[labels], labels)
    groups = [f"{CLASSES[label]}/g{i // 6:02}" for i, label in enumerate(labels)]
    clips = [f"{i}.avi" for i in range(n)]
    return known, x, unknown.test(known, x, clips, groups, labels, CLASSES), labels


def test_the_figures_are_those_of_roc_curves_of_classes_left_out():
    known, x, rows, labels = made(spread=2.0)
    found = unknown.figures(rows, resamples=200, seed=1)
    areas, passing = [], []
    for label in range(3):
        scores = np.asarray(known.without(label).score(x.astype(np.float32)))
        areas.append(roc_auc_score(labels != label, scores))
        fpr, tpr, _ = roc_curve(labels != label, scores)
        passing.append(fpr[np.searchsorted(tpr, 0.95)])
    assert found["auroc"] == pytest.approx(np.mean(areas), abs=1e-6)
    assert found["fpr95"] == pytest.approx(np.mean(passing), abs=0.051)
    assert 0.6 < found["auroc_low"] < found["auroc"] < found["auroc_high"] < 1


def test_classes_far_apart_are_told_perfectly():
    _, _, rows, _ = made(spread=0.1)
    found = unknown.figures(rows, resamples=50, seed=1)
    assert (found["auroc"], found["fpr95"]) == (1.0, 0.0)


def test_two_classes_cannot_be_left_out():
    _, x, _, labels = made()
    two = labels < 2
    pair = familiarity.fit(x[two], labels[two])
    clips = [str(i) for i in range(two.sum())]
    rows = unknown.test(pair, x[two], clips, clips, labels[two], CLASSES[:2])
    assert len(rows) == two.sum()
    assert unknown.figures(rows, resamples=50, seed=1) == {}


def test_a_background_is_never_a_known_class():
    known, x, _, labels = made(spread=2.0)
    clips = [str(i) for i in range(len(labels))]
    rows = unknown.test(known, x, clips, clips, labels, ["A", "B", "_background"])
    scores = np.asarray(known.without(0).score(x.astype(np.float32)))
    area = roc_auc_score(labels[labels < 2] != 0, scores[labels < 2])
    assert np.mean([float(row[3]) for row in rows if row[2] == "A"]) == pytest.approx(area)
