"""Predictions to figures: pure functions of probabilities, labels and groups."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import stats
from sklearn.metrics import confusion_matrix, f1_score, log_loss, precision_recall_fscore_support

PER_CLASS_COLUMNS = ("class", "precision", "recall", "f1", "n_test")
_BINS = 10


def figures(
    probabilities: np.ndarray,
    labels: np.ndarray,
    groups: Sequence[str],
    *,
    resamples: int,
    seed: int,
) -> dict[str, float | int]:
    """Return the test figures of a network, by name.

    `accuracy_low` and `accuracy_high` are the 95 % interval; `macro_f1` is over the classes in
    `labels` or predicted; `loss` is in nats. Probabilities are (N, C), labels int (N,); groups are
    the N source videos, unique over classes.
    """
    predicted = probabilities.argmax(axis=1)
    right = predicted == labels
    low, high = accuracy_interval(right, groups, resamples=resamples, seed=seed)
    own = probabilities[np.arange(len(labels)), labels]
    rank = (probabilities > own[:, None]).sum(axis=1)
    return {
        "accuracy": float(right.mean()),
        "accuracy_low": low,
        "accuracy_high": high,
        "top5": float((rank < 5).mean()),
        "macro_f1": float(f1_score(labels, predicted, average="macro", zero_division=0)),
        "loss": float(log_loss(labels, probabilities, labels=range(probabilities.shape[1]))),
        "calibration_error": calibration_error(probabilities, labels),
        "n_test": len(labels),
        "n_groups": len(set(groups)),
    }


def accuracy_interval(
    right: np.ndarray, groups: Sequence[str], *, resamples: int, seed: int
) -> tuple[float, float]:
    """Return the 95 % interval of the accuracy of hits bool (N,), resampling whole groups.

    Clips of one group succeed and fail together: resampling clips gives too narrow an interval
    (Field & Welsh, JRSS B 2007). Where all clips are right or all are wrong BCa's has no width;
    there it is the exact binomial one of the number of groups (Clopper & Pearson, 1934).
    """
    hits, size = per_group(groups, np.asarray(right, float), np.ones(len(right)))
    if hits.sum() in (0, size.sum()):
        exact = stats.binomtest(len(size) if hits.any() else 0, len(size)).proportion_ci()
        return float(exact.low), float(exact.high)
    return bootstrap((hits, size), ratio, resamples=resamples, seed=seed)


def ratio(hits: np.ndarray, size: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return the quotient of two sums, a statistic for `bootstrap`."""
    return hits.sum(axis) / size.sum(axis)


def per_group(groups: Sequence[str], *values: np.ndarray) -> list[np.ndarray]:
    """Return the sums of each of `values`, (N,), over the clips of each group: arrays (G,)."""
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    return [np.bincount(index, weights=array) for array in values]


def bootstrap(
    sums: Sequence[np.ndarray], statistic: Callable[..., np.ndarray], *, resamples: int, seed: int
) -> tuple[float, float]:
    """Return the 95 % BCa interval (Efron, JASA 1987) of a statistic over groups.

    `sums` are arrays (G,); `statistic` takes them and `axis`, vectorised. Where all groups agree
    both ends are the statistic.
    """
    value = float(statistic(*sums))
    if len(sums[0]) < 2 or len(set(zip(*(array.tolist() for array in sums), strict=True))) == 1:
        return value, value
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            sums,
            statistic,
            n_resamples=resamples,
            batch=max(1, 2_000_000 // len(sums[0])),  # numbers drawn at a time, for memory
            vectorized=True,
            paired=True,
            method="BCa",
            rng=np.random.default_rng(seed),
        )
    ends = found.confidence_interval
    if not np.isfinite(ends).all():
        # BCa is undefined where no group changes the statistic, or where it is NaN for some draws.
        ends = np.nanquantile(found.bootstrap_distribution, [0.025, 0.975])
    return float(ends[0]), float(ends[1])


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the expected calibration error (Naeini et al., AAAI 2015).

    Clips are sorted into 10 bins of equal width by the probability of the predicted class. Each
    bin's distance between mean probability and accuracy is weighted by its clips.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(bins, weights=confidence - right, minlength=_BINS)
    return float(np.abs(gaps).sum() / len(labels))


def baselines(
    train_labels: np.ndarray, test_labels: np.ndarray, n_classes: int
) -> dict[str, float]:
    """Return the accuracies to beat: `chance`, and `majority`, the commonest training class."""
    majority = np.bincount(train_labels, minlength=n_classes).argmax()
    return {"chance": 1 / n_classes, "majority": float((test_labels == majority).mean())}


def per_class(
    probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> list[tuple[Any, ...]]:
    """Return a row a class, as `PER_CLASS_COLUMNS`; 0 where a figure is undefined."""
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, probabilities.argmax(axis=1), labels=range(len(classes)), zero_division=0
    )
    return [
        (name, f"{p:.4f}", f"{r:.4f}", f"{f:.4f}", int(n))
        for name, p, r, f, n in zip(classes, precision, recall, f1, support, strict=True)
    ]


def confusion(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return counts (C, C): rows are the true classes, columns the predicted ones."""
    classes = range(probabilities.shape[1])
    return confusion_matrix(labels, probabilities.argmax(axis=1), labels=classes)


def worst_mistakes(probabilities: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Return the rows of at most `count` wrong predictions, the most confident first."""
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    confidence = probabilities[wrong, predicted[wrong]]
    return wrong[np.argsort(-confidence, kind="stable")][:count]
