"""predictions.csv: what a network said of every tested clip."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from har import files
from har.errors import UserError

COLUMNS = ("clip", "group", "actual", "predicted")  # then a column a class: its probability
_BINS = 10


class Predictions(NamedTuple):
    """What was predicted of tested clips, of one trial or of several together.

    Attributes:
        clips: N paths.
        groups: N source videos, unique over classes.
        labels: int (N,), the true classes.
        probabilities: (N, C), rows sum to 1.
        classes: C names.
    """

    clips: Sequence[str]
    groups: Sequence[str]
    labels: np.ndarray
    probabilities: np.ndarray
    classes: Sequence[str]

    @property
    def right(self) -> np.ndarray:
        """Whether each clip was recognised, bool (N,)."""
        return self.probabilities.argmax(axis=1) == self.labels


def write(path: Path, predictions: Predictions) -> None:
    """Write predictions.csv."""
    clips, groups, labels, probabilities, classes = predictions
    guesses = probabilities.argmax(axis=1)
    files.write_csv(
        path,
        (*COLUMNS, *classes),
        (
            (clip, group, classes[label], classes[guess], *(f"{p:.6f}" for p in row))
            for clip, group, label, guess, row in zip(
                clips, groups, labels, guesses, probabilities, strict=True
            )
        ),
    )


def read(path: Path) -> Predictions:
    """Read predictions.csv.

    Raises:
        UserError: the file is not there.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
    except FileNotFoundError:
        raise UserError(
            f"Expected predictions at {path}. Received: no such file. "
            "Run `make compare` to make it."
        ) from None
    classes = header[len(COLUMNS) :]
    clips, groups, actual, _ = zip(*(row[: len(COLUMNS)] for row in rows), strict=True)
    labels = np.array([classes.index(name) for name in actual])
    probabilities = np.array([[float(p) for p in row[len(COLUMNS) :]] for row in rows])
    return Predictions(clips, groups, labels, probabilities, classes)


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the expected calibration error: how far confidence is from accuracy, on average.

    Clips are put into 10 bins of equal width by the confidence of the winning class; each bin's
    distance between mean confidence and accuracy counts by its clips (Naeini et al., AAAI 2015).
    Few clips make it larger than it is in truth.

    Args:
        probabilities: (N, C), rows sum to 1.
        labels: int (N,).
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(bins, weights=confidence - right, minlength=_BINS)
    return float(np.abs(gaps).sum() / len(labels))
