"""The content of `metrics/<approach>/`: tables and pictures of one test."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from har import files, plots
from har.clips.store import FrameStore
from har.evaluation import metrics, predictions
from har.evaluation.predictions import Predictions


def write(
    folder: Path,
    title: str,
    tested: Predictions,
    store: FrameStore,
    *,
    n_mistakes: int,
    history: Sequence[Mapping[str, Any]] = (),
    best_epoch: int = 1,
) -> None:
    """Write predictions.csv, per_class.csv, confusion.png, mistakes.png and curves.png.

    `store` has the frames of the tested clips. Without a history there are no curves. Epochs count
    from 1.
    """
    clips, _, labels, probabilities, classes = tested
    guesses = probabilities.argmax(axis=1)
    predictions.write(folder / "predictions.csv", tested)
    rows = metrics.per_class(probabilities, labels, classes)
    files.write_csv(folder / "per_class.csv", metrics.PER_CLASS_COLUMNS, rows)
    counts = metrics.confusion(probabilities, labels)
    plots.confusion(folder / "confusion.png", counts, classes, title)
    if history:
        plots.curves(folder / "curves.png", history, best_epoch, title)
    worst = metrics.worst_mistakes(probabilities, labels, n_mistakes)
    strips = []
    for i, frames in zip(worst, store.read([clips[i] for i in worst])[0], strict=True):
        confidence = f"{classes[guesses[i]]} ({probabilities[i, guesses[i]]:.0%})"
        strips.append((f"{classes[labels[i]]}, predicted as {confidence}: {clips[i]}", frames))
    n_wrong = int((guesses != labels).sum())
    heading = f"{title}: {n_wrong or 'none'} of {len(labels)} clips predicted as another class"
    plots.contact_sheet(folder / "mistakes.png", strips, heading)
