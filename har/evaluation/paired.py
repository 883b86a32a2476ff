"""Compare two tests on the same clips: the difference of their accuracies and its interval."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

_ALPHA = 0.05


def difference(
    hits_a: np.ndarray,
    hits_b: np.ndarray,
    groups: Sequence[str],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Return the accuracy of `b` minus that of `a`, and the 95 % interval of this difference.

    Whole groups are resampled, each with both of its results: clips of one group succeed and fail
    together, and both sides find the same clips hard. The interval is bias-corrected and
    accelerated (BCa; Efron, JASA 82, 1987). The bootstrap is too sure where few groups differ, as
    when one side is perfect; so the interval includes 0 unless `sign_flip_p` is at most 0.05.

    Args:
        hits_a: bool (N,), whether the first side recognised each clip.
        hits_b: bool (N,), likewise the second side, the same clips in the same order.
        groups: (N,), the source video of each clip.
        resamples: number of bootstrap resamples.
        seed: seed of the resampling.

    Returns:
        Difference, lower and upper end, in [-1, 1]; three NaNs where there are no clips.
    """
    if len(hits_a) == 0:
        return (float("nan"),) * 3
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    size = np.bincount(index)
    gain = np.bincount(index, weights=np.asarray(hits_b, float) - np.asarray(hits_a, float))
    observed = gain.sum() / size.sum()
    if np.ptp(gain / size) == 0:
        # No spread to resample. At most this share of groups is otherwise (97.5 % sure, 0 of G
        # seen), and these could be all lost (-1) or all won (+1).
        others = 1 - (_ALPHA / 2) ** (1 / len(size))
        low, high = observed - others * (1 + observed), observed + others * (1 - observed)
    else:
        low, high = _bca(gain, size, resamples, seed)
    if sign_flip_p(gain) > _ALPHA:
        low, high = min(low, 0.0), max(high, 0.0)
    return float(observed), float(low), float(high)


def sign_flip_p(gain: np.ndarray) -> float:
    """Return the exact two-sided p-value of the group gains if the sides are interchangeable.

    Swapping the sides flips the sign of a group's gain. Of all equally likely flips, p is the
    share whose total is at least as far from 0 as the observed one. With one clip a group this is
    McNemar's exact test.

    Args:
        gain: (G,) whole numbers, clips won minus clips lost in each group.
    """
    steps = np.abs(gain[gain != 0]).astype(int)
    chance = np.ones(1)  # chance[i]: probability that the groups flipped upwards gain i in all
    for step in steps:
        chance = np.pad(chance, (0, step)) / 2 + np.pad(chance, (step, 0)) / 2
    totals = 2 * np.arange(len(chance)) - steps.sum()
    return float(min(1.0, chance[np.abs(totals) >= abs(gain.sum())].sum()))


def _bca(gain: np.ndarray, size: np.ndarray, resamples: int, seed: int) -> tuple[float, float]:
    def ratio(gain: np.ndarray, size: np.ndarray, axis: int) -> np.ndarray:
        return gain.sum(axis=axis) / size.sum(axis=axis)

    for method in ("BCa", "percentile"):  # BCa is undefined for a few extreme samples
        interval = stats.bootstrap(
            (gain, size),
            ratio,
            paired=True,
            vectorized=True,
            method=method,
            n_resamples=resamples,
            rng=np.random.default_rng(seed),
        ).confidence_interval
        if np.isfinite(interval).all():
            break
    return interval
