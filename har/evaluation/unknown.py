"""How well a network tells that a clip is of no class it knows: classes are left out in turn.

A class is taken out of what `har.nn.familiarity` knows; its test clips must score lower than those
of the others. A network that was trained on the clips has seen the class all the same, so its
figures are optimistic; features of a frozen backbone have not.
"""

from collections.abc import Sequence

import numpy as np

from har.clips.store import BACKGROUND
from har.evaluation import metrics
from har.nn.familiarity import PASS, Familiarity

COLUMNS = ("clip", "group", "actual", "above", "passes")  # of unknown.csv


def test(
    familiarity: Familiarity,
    x: np.ndarray,
    clips: Sequence[str],
    groups: Sequence[str],
    labels: np.ndarray,
    classes: Sequence[str],
) -> list[tuple[str, ...]]:
    """Return rows as `COLUMNS` of N tested clips with x (N, D), each left out once.

    `above` is the share of the known clips that score higher, `passes` whether the clip scores
    higher than the lowest 5 % of them: their means are AUROC and FPR95.
    """
    real = np.array([name != BACKGROUND for name in classes])[labels]  # else known to be none
    above, passes = np.full(len(labels), np.nan), np.full(len(labels), np.nan)
    for label in range(len(classes)):
        out = labels == label
        if out.any() and (real & ~out).any() and len(classes) > 2:
            score = np.asarray(familiarity.without(label).score(x.astype(np.float32)))
            known = np.sort(score[real & ~out])
            lower = (known.searchsorted(score[out], side) for side in ("left", "right"))
            above[out] = 1 - sum(lower) / (2 * len(known))
            passes[out] = score[out] > np.quantile(known, 1 - PASS)
    names = [classes[label] for label in labels]
    shares = ([f"{value:.6f}" for value in values] for values in (above, passes))
    return list(zip(clips, groups, names, *shares, strict=True))


def figures(rows: Sequence[Sequence[str]], **draws: int) -> dict[str, float]:
    """Return `auroc` and `fpr95` with the intervals over groups of the clips left out."""
    _, groups, _, *shares = np.array(rows).T
    found = {}
    for name, values in zip(("auroc", "fpr95"), shares, strict=True):
        values = values.astype(float)
        there = np.isfinite(values)
        if there.any():
            sums = metrics.per_group(groups[there], values[there], np.ones(there.sum()))
            low, high = metrics.bootstrap(sums, metrics.ratio, **draws)
            found |= {name: float(values[there].mean()), f"{name}_low": low, f"{name}_high": high}
    return found
