"""From the probabilities of windows to what happened when.

The probabilities of the last few windows are averaged, and the label changes only for one that is
clearly better (hysteresis). Where none is likely enough, or the background is, it is `None`.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Smoothing:
    """How windows become labels."""

    windows: int = 3  # how many of the last are averaged, ≥ 1
    threshold: float = 0.5  # a label appears where its probability reaches this
    # A label stays until its probability falls this far below the threshold, or another's is this
    # much higher.
    hysteresis: float = 0.1


class Segment(NamedTuple):
    """A part of a video with one label; times in seconds."""

    start: float
    end: float
    label: int | None  # index of the class; None where unknown
    probability: float  # mean smoothed probability of the label, or of the likeliest class


class Smoother:
    """Takes windows one at a time; gives smoothed probabilities and the label."""

    def __init__(self, smoothing: Smoothing, background: int | None = None) -> None:
        self._smoothing, self._background = smoothing, background
        self._last: deque[np.ndarray] = deque(maxlen=smoothing.windows)
        self._shown: int | None = None

    @property
    def label(self) -> int | None:
        """Index of the class that is shown; `None` where unknown."""
        return None if self._shown == self._background else self._shown

    def update(self, probabilities: np.ndarray) -> np.ndarray:
        """Take a window's probabilities, (C,); set `label`; return the smoothed ones, (C,)."""
        self._last.append(probabilities)
        mean = np.mean(self._last, axis=0)
        best, bar = int(mean.argmax()), self._smoothing
        shown = -np.inf if self._shown is None else mean[self._shown]
        stays = shown >= bar.threshold - bar.hysteresis
        if not stays:
            self._shown = None
        if mean[best] >= bar.threshold and (not stays or mean[best] > shown + bar.hysteresis):
            self._shown = best
        return mean


def smooth(
    probabilities: np.ndarray, smoothing: Smoothing, background: int | None = None
) -> tuple[np.ndarray, list[int | None]]:
    """Return the smoothed probabilities, (N, C), and the labels of the N windows of a video."""
    smoother = Smoother(smoothing, background)
    found = [(smoother.update(row), smoother.label) for row in probabilities]
    return np.array([row for row, _ in found]), [label for _, label in found]


def segments(
    spans: Sequence[tuple[float, float]],
    probabilities: np.ndarray,
    smoothing: Smoothing,
    background: int | None = None,
) -> list[Segment]:
    """Turn windows into segments that cover the video without gap or overlap.

    `spans` are start and end of N ≥ 1 windows, seconds, in order, with probabilities (N, C). A
    smoothed answer is about the middle of all it averages; it holds from half-way to the answer
    before to half-way to the one after.
    """
    smoothed, labels = smooth(probabilities, smoothing, background)
    firsts = [max(i - smoothing.windows + 1, 0) for i in range(len(spans))]
    middles = [(spans[first][0] + spans[i][1]) / 2 for i, first in enumerate(firsts)]
    edges = [spans[0][0], *((a + b) / 2 for a, b in pairwise(middles)), spans[-1][1]]
    found: list[Segment] = []
    for label, run in groupby(range(len(spans)), key=labels.__getitem__):
        places = list(run)
        rows = smoothed[places]
        shares = rows.max(axis=1) if label is None else rows[:, label]
        span = edges[places[0]], edges[places[-1] + 1]
        found.append(Segment(*span, label, float(shares.mean())))
    return found
