"""What `metrics/<approach>/` holds: tables and pictures of one test."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from har import files, plots
from har.evaluation import metrics, predictions


class Test(NamedTuple):
    """What was tested.

    Attributes:
        clips: N paths.
        groups: the source video of each clip, unique over classes.
        frames: uint8 (N, T, H, W, 3) RGB.
        labels: int (N,), the true classes.
        classes: C names.
    """

    clips: Sequence[str]
    groups: Sequence[str]
    frames: np.ndarray
    labels: np.ndarray
    classes: Sequence[str]


def write(
    folder: Path,
    title: str,
    test: Test,
    probabilities: np.ndarray,
    history: Sequence[dict[str, str]],
    best_epoch: int,
    n_mistakes: int,
) -> None:
    """Write predictions.csv, per_class.csv, confusion.png, curves.png and mistakes.png.

    Args:
        folder: where to.
        title: of the pictures.
        test: what was tested.
        probabilities: (N, C), rows sum to 1.
        history: rows of history.csv.
        best_epoch: the epoch the weights are of, from 1.
        n_mistakes: clips on the sheet of mistakes, at most.
    """
    clips, groups, frames, labels, classes = test
    guesses = probabilities.argmax(axis=1)
    predictions.write(
        folder / "predictions.csv",
        predictions.Predictions(clips, groups, labels, probabilities, classes),
    )
    files.write_csv(
        folder / "per_class.csv",
        metrics.PER_CLASS_COLUMNS,
        metrics.per_class(probabilities, labels, classes),
    )
    counts = metrics.confusion(probabilities, labels)
    plots.confusion(folder / "confusion.png", counts, classes, title)
    plots.curves(folder / "curves.png", history, best_epoch, title)
    worst = metrics.worst_mistakes(probabilities, labels, n_mistakes)
    rows = [
        (
            f"{classes[labels[i]]}, taken for {classes[guesses[i]]} "
            f"({probabilities[i, guesses[i]]:.0%}): {test.clips[i]}",
            frames[i],
        )
        for i in worst
    ]
    n_wrong = int((guesses != labels).sum())
    heading = f"{title}: {n_wrong or 'none'} of {len(labels)} clips taken for another class"
    plots.contact_sheet(folder / "mistakes.png", rows, heading)
