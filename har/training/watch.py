"""Curves of a training while it runs, read from the state it keeps in `.work/` after each epoch.

Nothing is logged for this and no output is touched, so watching cannot change what DVC sees.
"""

import csv
import json
import shutil
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from har import files
from har.errors import UserError

COLUMNS = ("loss", "val_loss", "accuracy", "val_accuracy")
BLOCKS = "▁▂▃▄▅▆▇█"


class Training(NamedTuple):
    """A training, running or finished.

    Attributes:
        approach: its name.
        history: one row an epoch, as in history.csv.
        running: whether its state is still in `.work/`.
    """

    approach: str
    history: list[dict[str, float]]
    running: bool


def trainings(models: Path = Path("models")) -> list[Training]:
    """Return running trainings, and finished ones of approaches that are not running."""
    found = {}
    for table in sorted(models.glob("*/history.csv")):
        with table.open(encoding="utf-8", newline="") as file:
            rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
        if rows:
            found[table.parent.name] = Training(table.parent.name, rows, running=False)
    states = (files.ROOT / "train").glob("*/*.npz")
    for state in sorted(states, key=lambda path: path.stat().st_mtime):
        if not state.name.endswith(".part.npz") and (rows := _history(state)):
            approach = state.parent.name
            found[approach] = Training(approach, rows, running=True)
    return [found[name] for name in sorted(found)]


def _history(state: Path) -> list[dict[str, float]]:
    try:
        with np.load(state, allow_pickle=False) as saved:
            return json.loads(str(saved["history"]))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return []  # gone or replaced in this moment: the next look finds it


def draw(training: Training, width: int = 80) -> str:
    """Draw a training as a heading and a line a curve, at most `width` characters wide."""
    history = training.history
    best = min(history, key=lambda row: row["val_loss"])
    state = "training" if training.running else "finished"
    lines = [f"{training.approach}: {state}, epoch {len(history)}, best {best['epoch']:.0f}"]
    for name in COLUMNS:
        values = [row[name] for row in history]
        lines.append(f"  {name:13}{values[-1]:8.3f}  {sparkline(values, max(width - 25, 8))}")
    return "\n".join(lines)


def sparkline(values: Sequence[float], width: int) -> str:
    """Draw numbers as blocks between their lowest and highest, averaged down to `width`.

    Example:
        >>> sparkline([0, 1, 2, 3], 8)
        '▁▃▆█'
    """
    points = [float(np.mean(part)) for part in np.array_split(values, min(len(values), width))]
    low, high = min(points), max(points)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((point - low) * scale)] for point in points)


def frames(width: int, interval_sec: float) -> Iterator[str]:
    """Yield what to show, now and whenever an epoch has ended, for ever."""
    shown = None
    while True:
        picture = "\n\n".join(draw(training, width) for training in trainings())
        if picture != shown:
            yield picture
            shown = picture
        time.sleep(interval_sec)


class EventFiles:
    """Writes what is new in trainings as TensorBoard's event files, below `.work/tensorboard/`.

    Raises:
        UserError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path = files.ROOT / "tensorboard") -> None:
        try:
            from tensorboard.summary import Writer
        except ImportError:
            raise UserError(
                "Expected TensorBoard. Received: it is not installed. Run `python -m pip install "
                "-e '.[tensorboard]'`, or watch without --tensorboard."
            ) from None
        self._folder, self._writer = folder, Writer
        self._written: dict[str, int] = {}

    def update(self, found: Sequence[Training]) -> None:
        """Write the epochs that are not written yet, a run a training and a side."""
        for approach, history, _ in found:
            # Another first epoch is another training; the same one is never written twice.
            run = f"{approach}-{files.digest(history[0])[:6]}"
            first = self._written.get(run, 0)
            if first == 0 and (self._folder / run).exists():
                shutil.rmtree(self._folder / run)
            if first == len(history):
                continue
            for side, prefix in (("training", ""), ("validation", "val_")):
                writer = self._writer(str(self._folder / run / side))
                for row in history[first:]:
                    for name in ("loss", "accuracy"):
                        writer.add_scalar(name, row[prefix + name], step=int(row["epoch"]))
                writer.close()
            self._written[run] = len(history)
