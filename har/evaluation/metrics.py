"""Predictions to figures: pure functions of probabilities, labels and groups."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix, f1_score, log_loss, precision_recall_fscore_support

from har.evaluation import predictions
from har.nn.backend import keras
from har.training.batches import Batches

PER_CLASS_COLUMNS = ("class", "precision", "recall", "f1", "n_test")


def predict(model: keras.Model, frames: np.ndarray, batch: int) -> np.ndarray:
    """Return class probabilities of clips.

    Args:
        model: from uint8 clips to probabilities.
        frames: uint8 (N, T, H, W, 3) RGB.
        batch: clips at a time; frames are never held as floats beyond one batch.

    Returns:
        float64 (N, n_classes), rows sum to 1.
    """
    clips = Batches(frames, np.zeros(len(frames), np.int64), batch)
    probabilities = model.predict(clips.for_keras(), verbose=0).astype(np.float64)
    return probabilities / probabilities.sum(axis=1, keepdims=True)


def figures(
    probabilities: np.ndarray,
    labels: np.ndarray,
    groups: Sequence[str],
    *,
    resamples: int,
    seed: int,
) -> dict[str, float | int]:
    """Return the test figures of metrics.json.

    Args:
        probabilities: (N, C), rows sum to 1.
        labels: int (N,), the true classes.
        groups: (N,), the source video of each clip, unique over classes.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        `accuracy` with its 95 % interval `accuracy_low`, `accuracy_high`, `top5`, `macro_f1`
        (over the classes in `labels` or predicted), `loss` (cross-entropy, nats),
        `calibration_error`, `n_test` and `n_groups`.
    """
    predicted = probabilities.argmax(axis=1)
    right = predicted == labels
    low, high = bootstrap_interval(right, groups, resamples=resamples, seed=seed)
    rank = (probabilities > probabilities[np.arange(len(labels)), labels][:, None]).sum(axis=1)
    return {
        "accuracy": float(right.mean()),
        "accuracy_low": low,
        "accuracy_high": high,
        "top5": float((rank < 5).mean()),
        "macro_f1": float(f1_score(labels, predicted, average="macro", zero_division=0)),
        "loss": float(log_loss(labels, probabilities, labels=range(probabilities.shape[1]))),
        "calibration_error": predictions.calibration_error(probabilities, labels),
        "n_test": len(labels),
        "n_groups": len(set(groups)),
    }


def bootstrap_interval(
    right: np.ndarray, groups: Sequence[str], *, resamples: int, seed: int
) -> tuple[float, float]:
    """Return the 95 % percentile interval of the accuracy, resampling whole groups.

    Clips of one group succeed and fail together, so resampling clips would give an interval that
    is too narrow (Field & Welsh, Bootstrapping clustered data, JRSS B 2007).

    Args:
        right: bool (N,), whether each clip was recognised.
        groups: (N,), the group of each clip.
        resamples: number of resamples.
        seed: of the resampling.

    Returns:
        The 2.5 % and 97.5 % quantiles, in [0, 1].
    """
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    size = np.bincount(index)
    hits = np.bincount(index, weights=right)
    rng = np.random.default_rng(seed)
    accuracies = []
    for _ in range(resamples):
        drawn = rng.integers(len(size), size=len(size))
        accuracies.append(hits[drawn].sum() / size[drawn].sum())
    low, high = np.quantile(accuracies, [0.025, 0.975])
    return float(low), float(high)


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
