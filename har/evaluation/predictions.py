"""predictions.csv: the probabilities that a network gave every tested clip."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from har import files

COLUMNS = ("clip", "group", "actual", "predicted")  # then one column a class: its probability


class Predictions(NamedTuple):
    """Tested clips and their source videos, labels int (N,) and probabilities (N, C)."""

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
    rows = zip(clips, groups, labels, guesses, probabilities, strict=True)
    table = ((c, g, classes[a], classes[p], *(f"{x:.6f}" for x in row)) for c, g, a, p, row in rows)
    files.write_csv(path, (*COLUMNS, *classes), table)


def read(path: Path) -> Predictions:
    """Read predictions.csv; raise a `UserError` where it is missing or damaged."""
    header, rows = files.read_table(path, COLUMNS)
    classes = header[len(COLUMNS) :]
    try:
        clips, groups, actual, _, *columns = zip(*rows, strict=True)
        labels = np.array([classes.index(name) for name in actual])
        probabilities = np.array(columns, float).T
    except ValueError as error:
        raise files.damaged(path, error) from None
    return Predictions(clips, groups, labels, probabilities, classes)
