"""Labels that are likely wrong, by predictions of networks that were not trained on the clip.

Clips are ranked by the normalised margin (Northcutt et al., Confident Learning, JAIR 2021): the
probability of the given label less that of the likeliest other class, the lowest first.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from har import files, plots
from har.clips.store import FrameStore
from har.errors import UserError
from har.evaluation import predictions
from har.evaluation.predictions import Predictions

COLUMNS = ("clip", "class", "proposed", "probability_class", "probability_proposed")


class Doubt(NamedTuple):
    """A clip, its label, the likeliest other class, and the probabilities of both."""

    clip: str
    label: str
    proposed: str
    of_label: float
    of_proposed: float


def find(root: Path = Path()) -> list[Path]:
    """Return the predictions.csv of `har teach`, else of the approach that tested the most clips.

    Raises:
        UserError: there are none.
    """
    taught = root / "metrics" / "i3d" / "predictions.csv"
    if taught.is_file():
        return [taught]
    found: dict[str, list[Path]] = {}
    for path in sorted((root / "comparison" / "trials").glob("*/*-group-*-*/predictions.csv")):
        found.setdefault(path.parents[1].name, []).append(path)
    if not found:
        raise UserError(
            "There are no predictions of all folds. Run `har teach FOLDER`, or `make compare` with "
            "all folds in comparison.folds."
        )

    def worth(paths: Sequence[Path]) -> tuple[int, float]:
        parts = [predictions.read(path) for path in paths]
        return len({c for p in parts for c in p.clips}), np.mean([p.right.mean() for p in parts])

    return max(found.values(), key=worth)


def rank(parts: Sequence[Predictions]) -> list[Doubt]:
    """Return all clips, the most doubtful first; several predictions of a clip are averaged."""
    classes, rows, labels = parts[0].classes, {}, {}
    for part in parts:
        for clip, label, row in zip(part.clips, part.labels, part.probabilities, strict=True):
            rows.setdefault(clip, []).append(row)
            labels[clip] = label
    doubts = []
    for clip, several in rows.items():
        row, label = np.mean(several, axis=0), labels[clip]
        other = int(np.where(np.arange(len(row)) == label, -1.0, row).argmax())
        names = classes[label], classes[other]
        doubts.append(Doubt(clip, *names, float(row[label]), float(row[other])))
    return sorted(doubts, key=lambda doubt: doubt.of_label - doubt.of_proposed)


def write(doubts: Sequence[Doubt], table: Path, sheet: Path, frames: Path, count: int) -> None:
    """Write all clips as CSV, and the frames of the first `count` as a picture."""
    files.write_csv(table, COLUMNS, [(*d[:3], *(f"{p:.4f}" for p in d[3:])) for d in doubts])
    with FrameStore(frames) as store:
        pictures, _ = store.read([doubt.clip for doubt in doubts[:count]])
    captions = [f"{d.clip}: {d.of_label:.0%}, or {d.proposed} {d.of_proposed:.0%}" for d in doubts]
    title = f"The labels that are doubted most, of {len(doubts)}"
    plots.contact_sheet(sheet, list(zip(captions, pictures, strict=False)), title)
