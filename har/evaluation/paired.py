"""The difference of two accuracies and its 95 % interval: of the same clips, or of others."""

import math
from collections.abc import Sequence

import numpy as np

from har.evaluation import metrics

Interval = tuple[float, float]
_ALPHA = 0.05


def difference(
    hits_a: np.ndarray,
    hits_b: np.ndarray,
    groups: Sequence[str],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Return the accuracy of `b` minus that of `a` on the same clips, and its 95 % interval.

    Hits are bool (N,). Whole groups are resampled, each with both of its results. BCa's interval is
    too narrow where few groups differ, as when one side is perfect; so it includes 0 unless
    `sign_flip_p` is at most 0.05. Without clips all three are NaN.
    """
    if len(hits_a) == 0:
        return math.nan, math.nan, math.nan
    gains = np.asarray(hits_b, float) - np.asarray(hits_a, float)
    gain, size = metrics.per_group(groups, gains, np.ones(len(gains)))
    mean = metrics.ratio(gain, size)
    if np.ptp(gain / size) == 0:
        # All G groups agree. With 97.5 % confidence at most this share of groups does not (exact,
        # Clopper-Pearson); at worst these lose every clip (-1), at best they win every clip (+1).
        share = 1 - (_ALPHA / 2) ** (1 / len(size))
        low, high = mean - share * (1 + mean), mean + share * (1 - mean)
    else:
        low, high = metrics.bootstrap((gain, size), metrics.ratio, resamples=resamples, seed=seed)
    if sign_flip_p(gain) > _ALPHA:
        low, high = min(low, 0.0), max(high, 0.0)
    return float(mean), float(low), float(high)


def sign_flip_p(gain: np.ndarray) -> float:
    """Return the two-sided mid-p value of groups' gains if the two sides are interchangeable.

    Gains are whole numbers (G,), clips won minus clips lost. Of all flips of their signs, equally
    likely, p is the share with a total farther from 0 than the observed one, and half of the share
    as far: with one clip a group McNemar's mid-p test (Fagerland et al., BMC MRM 13, 2013).
    """
    steps = np.abs(gain[gain != 0]).astype(int)
    chance = np.ones(1)  # chance[i]: probability that the groups which won have won i in all
    for step in steps:
        chance = np.pad(chance, (0, step)) / 2 + np.pad(chance, (step, 0)) / 2
    total = np.abs(2 * np.arange(len(chance)) - steps.sum())
    observed = abs(gain.sum())
    return float(chance[total > observed].sum() + chance[total == observed].sum() / 2)


def separate_difference(old: tuple[float, ...], new: tuple[float, ...]) -> Interval:
    """Return the 95 % interval of `new - old` of two tests on other clips, each (value, low, high).

    Distances to the ends add as squares (Zou and Donner, Statistics in Medicine 27, 2008).
    """
    (was, was_low, was_high), (now, now_low, now_high) = old, new
    low = math.hypot(now - now_low, was_high - was)
    return now - was - low, now - was + math.hypot(now_high - now, was - was_low)
