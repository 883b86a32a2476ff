"""Intervals of differences, held against counting, exact tests and simulated tests."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq
from scipy.special import expit

from har.evaluation import paired

GROUPS = np.repeat(np.arange(36), 4)


def beyond(interval):
    return interval[-2] > 0 or interval[-1] < 0


def lost(*clips):
    """A side that recognises all of 144 clips, and one that misses some."""
    hits = np.ones(144, bool)
    other = hits.copy()
    other[list(clips)] = False
    return hits, other


def test_four_clips_of_four_groups_lost_from_a_perfect_side_are_noise():
    """McNemar's exact test of 4 against 0: p = 0.125."""
    difference, low, high = paired.difference(*lost(0, 4, 8, 12), GROUPS)
    assert difference == pytest.approx(-4 / 144)
    assert low < difference
    assert high == 0


def test_clips_of_one_group_count_once():
    assert not beyond(paired.difference(*lost(*range(8)), GROUPS))  # two groups
    assert beyond(paired.difference(*lost(*range(0, 32, 4)), GROUPS))  # eight


def test_swapping_the_sides_mirrors_the_interval():
    rng = np.random.default_rng(3)
    a, b = rng.random((2, 144)) < [[0.7], [0.9]]
    difference, low, high = paired.difference(a, b, GROUPS)
    back, back_low, back_high = paired.difference(b, a, GROUPS)
    assert difference == pytest.approx(b.mean() - a.mean()) == pytest.approx(-back)
    assert low == pytest.approx(-back_high, abs=0.02)
    assert high == pytest.approx(-back_low, abs=0.02)
    assert low < difference < high


def test_groups_weigh_by_their_clips():
    a = np.array([0, 0, 0, 0, 0, 1], bool)
    b = np.array([1, 1, 1, 1, 0, 0], bool)
    difference, *_ = paired.difference(a, b, ["x"] * 4 + ["y", "z"])
    assert difference == pytest.approx((4 - 1) / 6)


def test_without_spread_the_interval_is_exact():
    """With 36 groups that agree, a share over 0.0974 of others has a chance under 2.5 %."""
    share = stats.binomtest(0, 36).proportion_ci(0.95, "exact").high
    same = np.ones(144, bool)
    assert paired.difference(same, same, GROUPS) == pytest.approx((0, -share, share))
    difference, low, high = paired.difference(same, ~same, GROUPS)
    assert (difference, low) == (-1, -1)
    assert high == pytest.approx(-1 + 2 * share)


def test_no_clips_are_not_a_number():
    nothing = np.zeros(0, bool)
    assert all(map(math.isnan, paired.difference(nothing, nothing, [])))


def test_any_small_sample_has_a_finite_interval():
    rng = np.random.default_rng(0)
    for n_groups in (1, 2, 3, 8):
        for _ in range(50):
            groups = np.repeat(np.arange(n_groups), rng.integers(1, 4, n_groups))
            a, b = rng.random((2, len(groups))) < 0.8
            difference, low, high = paired.difference(a, b, groups, resamples=100)
            assert -1 <= low <= difference <= high <= 1


@pytest.mark.parametrize("gain", [[1], [-1, 2, 2], [3, 0, 1, -2, 1], [1, 1, 1, 1, 1, 1, -1]])
def test_the_p_value_counts_all_flips(gain):
    totals = [abs(np.dot(signs, gain)) for signs in product((-1, 1), repeat=len(gain))]
    observed = abs(sum(gain))
    expected = np.mean([1.0 if t > observed else 0.5 if t == observed else 0 for t in totals])
    assert paired.sign_flip_p(np.array(gain)) == pytest.approx(expected)


def test_one_clip_a_group_is_mcnemars_test():
    won, drawn = 9, 2
    exact = stats.binomtest(won, won + drawn).pvalue
    point = stats.binom.pmf(won, won + drawn, 0.5)
    gain = np.array([1] * won + [-1] * drawn + [0] * 20)
    assert paired.sign_flip_p(gain) == pytest.approx(exact - point)


def test_the_interval_of_separate_tests_covers_as_often_as_it_says():
    """Means of known numbers: 95 of 100 intervals hold the true difference."""
    rng = np.random.default_rng(27)
    n, covered = 2000, 0
    for _ in range(n):
        sides = []
        for mean, spread in ((0.8, 0.02), (0.9, 0.01)):
            value = rng.normal(mean, spread)
            sides.append((value, value - 1.96 * spread, value + 1.96 * spread))
        low, high = paired.separate_difference(*sides)
        covered += low <= 0.1 <= high
    assert covered / n == pytest.approx(0.95, abs=0.015)


SHARED, OWN = 2.0, 0.5  # spread in logits of groups and of clips; of one training on a group


def level(accuracy):
    """The logit around which clips have this accuracy on average."""
    noise = np.random.default_rng(0).normal(0, np.sqrt(2 * SHARED**2 + OWN**2), 100_000)
    return brentq(lambda logit: expit(logit + noise).mean() - accuracy, -10, 40)


def simulated(levels, rng):
    """Two trainings tested on the same clips: whether the paired and the separate rule differ."""
    hard = rng.normal(0, SHARED, 36)[GROUPS] + rng.normal(0, SHARED, 144)
    sides = [expit(x + hard + rng.normal(0, OWN, 36)[GROUPS]) > rng.random(144) for x in levels]
    _, *interval = paired.difference(*sides, GROUPS, resamples=1000)
    drawn = rng.integers(36, size=(1000, 36))
    ends = []
    for side in sides:
        resampled = side.reshape(36, 4).mean(axis=1)[drawn].mean(axis=1)
        ends.append((side.mean(), *np.quantile(resampled, [0.025, 0.975])))
    return beyond(interval), beyond(paired.separate_difference(*ends))


def share_beyond_noise(before, after, n=200):
    rng, levels = np.random.default_rng(7), [level(before), level(after)]
    return np.mean([simulated(levels, rng) for _ in range(n)], axis=0)


@pytest.mark.slow
@pytest.mark.parametrize("accuracy", [0.97, 0.8])
def test_null_changes_are_rarely_beyond_noise(accuracy):
    """At most 5 % of changes that change nothing. docs/reports.md has 2,000 of each kind."""
    found, _ = share_beyond_noise(accuracy, accuracy)
    assert 0 <= found <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)


@pytest.mark.slow
def test_a_true_gain_is_seen_more_often_than_by_separate_intervals():
    found, separate = share_beyond_noise(0.8, 0.9)
    assert found > 0.7 > separate
