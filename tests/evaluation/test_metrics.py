import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from har.evaluation import metrics

# Six clips of three classes: 0 0 0 1 1 2, taken for 0 0 1 1 2 2.
PROBABILITIES = np.array(
    [
        [0.7, 0.2, 0.1],
        [0.5, 0.3, 0.2],
        [0.1, 0.8, 0.1],
        [0.2, 0.6, 0.2],
        [0.0, 0.4, 0.6],
        [0.1, 0.1, 0.8],
    ]
)
LABELS = np.array([0, 0, 0, 1, 1, 2])
GROUPS = ["A/g01", "A/g01", "A/g02", "B/g01", "B/g02", "C/g01"]


def figures(probabilities=PROBABILITIES, labels=LABELS, groups=GROUPS, **changes):
    arguments = {"resamples": 200, "seed": 1} | changes
    return metrics.figures(probabilities, labels, groups, **arguments)


def one_hot(predicted, n_classes: int) -> np.ndarray:
    return np.eye(n_classes)[np.asarray(predicted)]


def test_figures_by_hand():
    found = figures()
    assert found["accuracy"] == pytest.approx(4 / 6)
    # F1 of 0: 2·2/(2+3) = 0.8; of 1: 2·1/(2+2) = 0.5; of 2: 2·1/(2+1) = 2/3.
    assert found["macro_f1"] == pytest.approx((0.8 + 0.5 + 2 / 3) / 3)
    expected = -np.mean(np.log([0.7, 0.5, 0.1, 0.6, 0.4, 0.8]))
    assert found["loss"] == pytest.approx(expected)
    assert found["top5"] == 1.0
    # Bins of 0.5, 0.6 (two clips), 0.7, 0.8 (two): how far their confidence is from what is right.
    off = abs(0.5 - 1) + abs(0.6 + 0.6 - 1) + abs(0.7 - 1) + abs(0.8 + 0.8 - 1)
    assert found["calibration_error"] == pytest.approx(off / 6)
    assert (found["n_test"], found["n_groups"]) == (6, 5)
    assert all(type(value) in (int, float) for value in found.values())


@pytest.mark.parametrize(("place", "top5"), [(0, 1.0), (4, 1.0), (5, 0.0), (7, 0.0)])
def test_top5_counts_the_place_of_the_truth(place, top5):
    row = np.arange(8, 0, -1) / 36
    found = figures(row[None], np.array([place]), ["A/g01"])
    assert found["top5"] == top5
    assert found["accuracy"] == float(place == 0)


def test_classes_without_any_clip_are_no_part_of_macro_f1():
    padded = np.hstack([PROBABILITIES, np.zeros((6, 2))])
    assert figures(padded)["macro_f1"] == figures()["macro_f1"]


def test_certainty_that_is_wrong_costs_much_but_no_infinity():
    loss = figures(one_hot([1, 0], 2), np.array([0, 1]), ["A/g01", "B/g01"])["loss"]
    assert 30 < loss < math.inf


@settings(deadline=None, max_examples=40)
@given(
    right=arrays(bool, st.integers(1, 40)),
    data=st.data(),
    seed=st.integers(0, 99),
)
def test_the_interval_holds_the_accuracy_of_some_resample(right, data, seed):
    groups = data.draw(
        st.lists(st.sampled_from("ABCDEF"), min_size=len(right), max_size=len(right))
    )
    low, high = metrics.accuracy_interval(right, groups, resamples=60, seed=seed)
    assert 0 <= low <= high <= 1
    assert (low, high) == metrics.accuracy_interval(right, groups, resamples=60, seed=seed)
    shares = [right[[g == group for g in groups]].mean() for group in set(groups)]
    if 0 < right.mean() < 1:
        assert min(shares) - 1e-9 <= low
        assert high <= max(shares) + 1e-9


def repeated(n_groups: int, n_clips: int = 120):
    """Clips of which three in four are recognised, whole groups at a time."""
    group = np.arange(n_clips) * n_groups // n_clips
    return group % 4 > 0, [f"g{i}" for i in group]


@pytest.mark.parametrize("n_groups", [4, 8, 20, 60])
def test_the_interval_contains_the_accuracy(n_groups):
    right, groups = repeated(n_groups)
    low, high = metrics.accuracy_interval(right, groups, resamples=500, seed=1)
    assert low < right.mean() == 0.75 < high


def test_fewer_groups_give_a_wider_interval():
    widths = []
    for n_groups in (60, 20, 8, 4):
        right, groups = repeated(n_groups)
        low, high = metrics.accuracy_interval(right, groups, resamples=500, seed=1)
        widths.append(high - low)
    assert widths == sorted(widths)
    assert widths[-1] > 2 * widths[0]


def test_the_interval_is_that_of_a_binomial_where_each_clip_is_a_group():
    right = np.arange(400) % 4 > 0
    low, high = metrics.accuracy_interval(right, range(400), resamples=4000, seed=1)
    reach = 1.96 * math.sqrt(0.75 * 0.25 / 400)
    assert (low, high) == pytest.approx((0.75 - reach, 0.75 + reach), abs=0.006)


@pytest.mark.parametrize(("n_groups", "bound"), [(1, 0.975), (5, 0.5218), (36, 0.0974)])
def test_the_interval_is_the_exact_binomial_one_of_groups_when_all_is_right_or_wrong(
    n_groups, bound
):
    # Clopper & Pearson: 1 - 0.025 ** (1 / n).
    groups = [f"g{i % n_groups}" for i in range(4 * n_groups)]
    for value, expected in ((True, (1 - bound, 1.0)), (False, (0.0, bound))):
        right = np.full(len(groups), value)
        found = metrics.accuracy_interval(right, groups, resamples=50, seed=1)
        assert found == pytest.approx(expected, abs=1e-4)


def test_one_group_has_no_width_and_gives_no_warning():
    found = metrics.accuracy_interval(np.array([True, False]), ["a", "a"], resamples=50, seed=1)
    assert found == (0.5, 0.5)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 4)
    covered = 0
    for seed in range(200):
        chance = rng.beta(4, 1, 40)  # of each group; the mean is 0.8
        right = rng.random(160) < chance[groups]
        low, high = metrics.accuracy_interval(right, groups, resamples=400, seed=seed)
        covered += low <= 0.8 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_the_interval_follows_the_seed():
    right, groups = repeated(8)
    intervals = {
        metrics.accuracy_interval(right, groups, resamples=30, seed=seed) for seed in range(10)
    }
    assert len(intervals) > 1


@pytest.mark.parametrize(
    ("train", "test", "n_classes", "majority"),
    [
        ([0, 0, 1, 2], [0, 1, 1, 2], 4, 0.25),
        ([1, 1, 0], [1, 1, 1, 0], 2, 0.75),
        ([2, 2], [0, 1], 3, 0.0),
        ([0, 1], [0, 0, 1], 2, 2 / 3),  # of equals the first
    ],
)
def test_baselines(train, test, n_classes, majority):
    found = metrics.baselines(np.array(train), np.array(test), n_classes)
    assert found == {"chance": 1 / n_classes, "majority": pytest.approx(majority)}


def test_per_class_by_hand():
    rows = metrics.per_class(
        np.hstack([PROBABILITIES, np.zeros((6, 1))]), LABELS, ["Jump", "Run", "Swim", "Fly"]
    )
    assert metrics.PER_CLASS_COLUMNS == ("class", "precision", "recall", "f1", "n_test")
    assert rows == [
        ("Jump", "1.0000", "0.6667", "0.8000", 3),
        ("Run", "0.5000", "0.5000", "0.5000", 2),
        ("Swim", "0.5000", "1.0000", "0.6667", 1),
        ("Fly", "0.0000", "0.0000", "0.0000", 0),
    ]


def test_confusion_has_the_truth_in_rows():
    assert metrics.confusion(PROBABILITIES, LABELS).tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    wide = np.hstack([PROBABILITIES, np.zeros((6, 2))])
    counts = metrics.confusion(wide, LABELS)
    assert counts.shape == (5, 5)
    assert counts.sum() == 6


def test_worst_mistakes_are_ordered_by_confidence():
    probabilities = np.array(
        [[0.9, 0.1], [0.4, 0.6], [0.05, 0.95], [0.2, 0.8], [0.6, 0.4], [0.05, 0.95]]
    )
    labels = np.array([0, 0, 0, 0, 1, 0])
    worst = [2, 5, 3, 1, 4]  # of equals the first; 1 and 4 are equals
    for count in range(7):
        found = metrics.worst_mistakes(probabilities, labels, count)
        assert found.tolist() == worst[:count]
    assert metrics.worst_mistakes(probabilities, probabilities.argmax(1), 5).tolist() == []
