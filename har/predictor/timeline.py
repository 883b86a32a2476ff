"""From the probabilities of windows to what happened when: pure functions.

Single windows flicker. The probabilities of the last few are averaged, and the label that is
shown changes only for one that is clearly better (hysteresis, as in Schmitt's trigger). Where no
class is likely enough, nothing is claimed: the label is unknown, `None`.
"""

import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Smoothing:
    """How windows become labels.

    Attributes:
        windows: as many of the last windows are averaged, ≥ 1.
        threshold: a label appears where its probability reaches this.
        hysteresis: a label that is shown stays until its probability falls this far below the
            threshold or another's is this much higher.
    """

    windows: int = 3
    threshold: float = 0.5
    hysteresis: float = 0.1


class Segment(NamedTuple):
    """A stretch of a video with one label.

    Attributes:
        start: seconds.
        end: seconds.
        label: index of the class; `None` where unknown.
        probability: mean over the stretch of the label's smoothed probability; of the likeliest
            class where unknown.
    """

    start: float
    end: float
    label: int | None
    probability: float


class Smoother:
    """Windows in, one at a time; the smoothed probabilities and the label out."""

    def __init__(self, smoothing: Smoothing) -> None:
        self._smoothing = smoothing
        self._last: deque[np.ndarray] = deque(maxlen=smoothing.windows)
        self.label: int | None = None

    def update(self, probabilities: np.ndarray) -> np.ndarray:
        """Take a window's probabilities, (C,); set `label`; return the smoothed ones, (C,)."""
        self._last.append(probabilities)
        mean = np.mean(self._last, axis=0)
        best, bar = int(mean.argmax()), self._smoothing
        shown = -np.inf if self.label is None else mean[self.label]
        stays = shown >= bar.threshold - bar.hysteresis
        if self.label is not None and not stays:
            self.label = None
        if mean[best] >= bar.threshold and (not stays or mean[best] > shown + bar.hysteresis):
            self.label = best
        return mean


def smooth(probabilities: np.ndarray, smoothing: Smoothing) -> tuple[np.ndarray, list[int | None]]:
    """Smooth the windows of a whole video.

    Args:
        probabilities: (N, C), rows sum to 1.
        smoothing: how.

    Returns:
        The smoothed probabilities (N, C), each the mean of a window and those before it; and the
        N labels.
    """
    smoother = Smoother(smoothing)
    rows, labels = [], []
    for row in probabilities:
        rows.append(smoother.update(row))
        labels.append(smoother.label)
    return np.reshape(rows, probabilities.shape), labels


def segments(
    spans: Sequence[tuple[float, float]], probabilities: np.ndarray, smoothing: Smoothing
) -> list[Segment]:
    """Turn windows into segments that cover the video without gap or overlap.

    A smoothed answer speaks of the middle of all it averages, not of the end of its last window;
    it holds from half-way to the answer before to half-way to the one after.

    Args:
        spans: start and end of each window, seconds, in order.
        probabilities: (N, C), rows sum to 1.
        smoothing: how.

    Returns:
        Segments in order; neighbours differ in label.
    """
    if not len(spans):
        return []
    smoothed, labels = smooth(probabilities, smoothing)
    firsts = [max(i - smoothing.windows + 1, 0) for i in range(len(spans))]
    middles = [(spans[first][0] + spans[i][1]) / 2 for i, first in enumerate(firsts)]
    between = [(a + b) / 2 for a, b in itertools.pairwise(middles)]
    edges = [spans[0][0], *between, spans[-1][1]]
    found: list[Segment] = []
    first = 0
    for i in range(1, len(spans) + 1):
        if i == len(spans) or labels[i] != labels[first]:
            label, rows = labels[first], smoothed[first:i]
            shares = rows.max(axis=1) if label is None else rows[:, label]
            found.append(Segment(edges[first], edges[i], label, float(shares.mean())))
            first = i
    return found
