from pathlib import Path

import numpy as np
import pytest

from har.clips import store
from har.errors import UserError
from har.evaluation import doubt, predictions
from har.evaluation.predictions import Predictions

CLASSES = ["A", "B", "C"]


def made(n=90, seed=0):
    """Predictions of true labels by a network that is right, and labels of which some are wrong."""
    rng = np.random.default_rng(seed)
    true = np.arange(n) % 3
    probabilities = 0.1 * rng.dirichlet(np.ones(3), n) + 0.9 * np.eye(3)[true]
    labels = true.copy()
    wrong = rng.choice(n, n // 10, replace=False)
    labels[wrong] = (true[wrong] + 1) % 3
    clips = [f"{CLASSES[label]}/{i}.avi" for i, label in enumerate(labels)]
    return Predictions(clips, clips, labels, probabilities, CLASSES), {clips[i] for i in wrong}


def test_wrong_labels_come_first_with_the_right_proposal():
    tested, wrong = made()
    doubts = doubt.rank([tested])
    assert len(doubts) == 90
    assert {d.clip for d in doubts[: len(wrong)]} == wrong
    for d in doubts[: len(wrong)]:
        assert CLASSES.index(d.proposed) == (CLASSES.index(d.label) - 1) % 3
        assert d.of_proposed > d.of_label
    margins = [d.of_label - d.of_proposed for d in doubts]
    assert margins == sorted(margins)


def test_several_predictions_of_a_clip_are_averaged():
    rows = [[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]]
    parts = [Predictions(["x"], ["x"], np.array([0]), np.array([row]), CLASSES) for row in rows]
    assert doubt.rank(parts) == [
        doubt.Doubt("x", "A", "B", pytest.approx(0.55), pytest.approx(0.45))
    ]


def test_which_predictions_are_taken(tmp_path):
    with pytest.raises(UserError, match=r"Run `har teach FOLDER`"):
        doubt.find(tmp_path)
    tested, _ = made()
    trials = tmp_path / "comparison" / "trials"
    half = Predictions(*(part[:40] for part in tested[:4]), CLASSES)
    predictions.write(trials / "lrcn" / "lrcn-group-0-27" / "predictions.csv", half)
    predictions.write(trials / "i3d" / "i3d-group-0-27" / "predictions.csv", tested)
    predictions.write(trials / "convlstm" / "convlstm-random-0-27" / "predictions.csv", tested)
    assert doubt.find(tmp_path) == [trials / "i3d" / "i3d-group-0-27" / "predictions.csv"]
    taught = tmp_path / "metrics" / "i3d" / "predictions.csv"
    predictions.write(taught, tested)
    assert doubt.find(tmp_path) == [taught]


def test_the_table_and_the_sheet(in_tmp_path):
    tested, _ = made(12)
    offsets = store.create(
        Path("frames.h5"), tested.clips, [c.split("/")[0] for c in tested.clips], (2, 8, 8)
    )
    assert len(offsets) == 12
    doubts = doubt.rank([tested])
    doubt.write(doubts, Path("doubt.csv"), Path("doubt.png"), Path("frames.h5"), 5)
    lines = Path("doubt.csv").read_text().splitlines()
    assert lines[0] == "clip,class,proposed,probability_class,probability_proposed"
    assert len(lines) == 13
    assert lines[1].split(",")[0] == doubts[0].clip
    assert Path("doubt.png").read_bytes().startswith(b"\x89PNG")
