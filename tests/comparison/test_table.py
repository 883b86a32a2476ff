"""The comparison's figures against their definitions, on predictions made by hand."""

from pathlib import Path

import numpy as np
import pytest

from har.comparison import plots, table
from har.errors import UserError
from har.evaluation.predictions import Predictions
from har.params import ComparisonParams

CLASSES = ("A", "B")


def predictions(right, groups=None, labels=None, classes=CLASSES) -> Predictions:
    """Return predictions that are right or wrong as told."""
    right = np.asarray(right, bool)
    labels = np.zeros(len(right), int) if labels is None else np.asarray(labels)
    groups = [f"A/g{i:02}" for i in range(len(right))] if groups is None else groups
    guess = np.where(right, labels, (labels + 1) % len(classes))
    probabilities = np.full((len(right), len(classes)), 0.1 / (len(classes) - 1))
    probabilities[np.arange(len(right)), guess] = 0.9
    return Predictions([""] * len(right), groups, labels, probabilities, classes)


def figures(*parts, resamples=200):
    return table.figures(parts, resamples=resamples, seed=1)


def test_accuracy_is_of_all_clips_and_mean_of_the_folds():
    found = figures(predictions([1, 1, 1]), predictions([0]))
    assert found["accuracy"] == 0.75
    assert found["mean"] == 0.5
    assert found["trials"] == [1.0, 0.0]
    assert found["sd"] == pytest.approx(np.sqrt(0.5))
    assert found["n_test"] == 4
    assert figures(predictions([1, 0]))["sd"] == 0.0


def test_the_interval_is_of_groups_and_not_of_clips():
    """Ten clips of one group are one source video: there is nothing to resample."""
    one = figures(predictions([1] * 9 + [0], ["A/g01"] * 10))
    assert one["accuracy_low"] == one["accuracy_high"] == 0.9
    many = figures(predictions([1] * 9 + [0]))
    assert many["accuracy_low"] < 0.9 < many["accuracy_high"]


def test_the_interval_is_that_of_the_evaluation_with_one_fold():
    from har.evaluation.metrics import accuracy_interval

    rng = np.random.default_rng(3)
    groups = [f"A/g{g:02}" for g in rng.integers(0, 9, 60)]
    part = predictions(rng.random(60) < 0.7, groups)
    low, high = accuracy_interval(part.right, groups, resamples=300, seed=1)
    found = figures(part, resamples=300)
    assert (found["accuracy_low"], found["accuracy_high"]) == pytest.approx((low, high))


def test_top_5_and_macro_f1():
    classes = tuple("ABCDEF")
    probabilities = np.array([[0.3, 0.25, 0.2, 0.1, 0.1, 0.05]] * 3)
    part = Predictions([""] * 3, ["a"] * 3, np.array([0, 4, 5]), probabilities, classes)
    assert figures(part)["top5"] == pytest.approx(2 / 3)
    # A: precision 1/3, recall 1, F1 1/2; the two others 0.
    assert figures(part)["macro_f1"] == pytest.approx(0.5 / 3)


def test_the_calibration_error_is_of_all_clips_together():
    """Sure by 0.9 and right in 1 of 2: in each part 0.9 off or 0.1, together 0.4."""
    assert figures(predictions([1]), predictions([0]))["calibration_error"] == pytest.approx(0.4)


def test_the_gap_and_its_interval():
    leaking, honest = predictions([1, 1, 1, 1]), predictions([1, 0, 0, 1])
    found = table.gap([leaking], [honest], resamples=500, seed=1)
    assert found["gap"] == 0.5
    assert 0 <= found["gap_low"] < 0.5 < found["gap_high"] <= 1
    same = table.gap([honest], [honest], resamples=100, seed=1)
    assert same == {"gap": 0.0, "gap_low": 0.0, "gap_high": 0.0}, "groups are drawn once for both"


def test_the_gap_where_the_protocols_tested_other_groups():
    leaking = predictions([1, 1], ["A/g01", "A/g02"])
    honest = predictions([0, 0], ["A/g03", "A/g04"])
    found = table.gap([leaking], [honest], resamples=100, seed=1)
    assert found == {"gap": 1.0, "gap_low": 1.0, "gap_high": 1.0}


def test_recall_of_each_class_that_was_tested():
    part = predictions([1, 0, 1], labels=[0, 0, 1], classes=("A", "B", "C"))
    assert table.recalls([part]) == {"A": 0.5, "B": 1.0}


def test_trials_of_different_data_sets_are_not_pooled():
    with pytest.raises(UserError, match="different classes"):
        table.pool([predictions([1]), predictions([1], classes=("A", "C"))])


def test_the_trials_of_the_comparison():
    section = ComparisonParams(
        approaches=["lrcn"], protocols=["group"], folds=[0, 1], seeds=[27, 28]
    )
    names = [str(trial) for trial in section.trials("lrcn", "group")]
    assert names == [f"lrcn-group-{fold}-{seed}" for fold in (0, 1) for seed in (27, 28)]


def row(accuracy: float, **more) -> dict:
    side = figures(predictions(np.arange(100) < accuracy * 100))
    cost = {"parameters": 1000, "multiply_adds": 2_000_000, "latency_ms": 1.5}
    return {"group": side, "random": side, "train_seconds": 3.0, **cost, **more}


def test_the_table_ranks_by_the_honest_accuracy():
    gap = {"gap": 0.2, "gap_low": 0.1, "gap_high": 0.3}
    rows = {"low": row(0.4, gap=gap), "high": row(0.9, gap=gap)}
    text = table.markdown(rows, 0.5, "Two approaches.", "a machine of 2 cores")
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    assert ["`high`" in lines[0], "`low`" in lines[1]] == [True, True]
    assert "0.900 (" in lines[0]
    assert "2.0 M" in lines[0]
    assert "+0.200 (+0.100 to +0.300)" in lines[1]
    columns = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert len(columns) == 1
    assert "a machine of 2 cores" in text


def test_a_training_time_that_is_not_known_is_not_made_up():
    text = table.markdown({"one": row(0.4, train_seconds=None)}, 0.5, "One.", "a machine")
    assert "elsewhere" in text


def test_pictures_are_the_same_bytes_every_time(tmp_path):
    rows = {"fast": row(0.4), "slow": row(0.9, latency_ms=30.0)}
    recalls = {name: {"A": 0.5, "B": 1.0} for name in rows}

    def draw(folder: Path) -> dict[str, bytes]:
        plots.accuracies(folder / "accuracy.png", rows, ("group", "random"), 0.5)
        plots.shares(folder / "classes.png", recalls, "Recognised")
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}

    first = draw(tmp_path / "first")
    assert draw(tmp_path / "second") == first
    assert all(data.startswith(b"\x89PNG") and len(data) > 5000 for data in first.values())
    assert len(first) == 2
