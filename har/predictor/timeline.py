"""From the probabilities of windows to what happened when: pure functions.

Single windows flicker. The probabilities of the last few are averaged, and the label that is
shown changes only for one that is clearly better (hysteresis, as in Schmitt's trigger). Where no
class is likely enough, or the likeliest is the background, the label is unknown: `None`.
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
        windows: how many of the last windows are averaged, ≥ 1.
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
    """Takes windows one at a time; gives smoothed probabilities and the label.

    Attributes:
        label: index of the class that is shown; `None` where unknown.
    """

    def __init__(self, smoothing: Smoothing, background: int | None = None) -> None:
        """Begin; `background` is the index of a class that counts as unknown."""
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
    """Smooth the windows of a whole video.

    Args:
        probabilities: (N, C), rows sum to 1.
        smoothing: how.
        background: index of a class that counts as unknown.

    Returns:
        The smoothed probabilities (N, C), each the mean of a window and those before it; and the
        N labels.
    """
    smoother = Smoother(smoothing, background)
    rows, labels = [], []
    for row in probabilities:
        rows.append(smoother.update(row))
        labels.append(smoother.label)
    return np.reshape(rows, probabilities.shape), labels


def segments(
    spans: Sequence[tuple[float, float]],
    probabilities: np.ndarray,
    smoothing: Smoothing,
    background: int | None = None,
) -> list[Segment]:
    """Turn windows into segments that cover the video without gap or overlap.

    A smoothed answer speaks of the middle of all it averages, not of the end of its last window;
    it holds from half-way to the answer before to half-way to the one after.

    Args:
        spans: start and end of each window, seconds, in order.
        probabilities: (N, C), rows sum to 1.
        smoothing: how.
        background: index of a class that counts as unknown.

    Returns:
        Segments in order; neighbours differ in label.
    """
    if not len(spans):
        return []
    smoothed, labels = smooth(probabilities, smoothing, background)
    firsts = [max(i - smoothing.windows + 1, 0) for i in range(len(spans))]
    middles = [(spans[first][0] + spans[i][1]) / 2 for i, first in enumerate(firsts)]
    between = [(a + b) / 2 for a, b in itertools.pairwise(middles)]
    edges = [spans[0][0], *between, spans[-1][1]]
    found: list[Segment] = []
    for label, run in itertools.groupby(range(len(spans)), key=labels.__getitem__):
        places = list(run)
        rows = smoothed[places]
        shares = rows.max(axis=1) if label is None else rows[:, label]
        span = edges[places[0]], edges[places[-1] + 1]
        found.append(Segment(*span, label, float(shares.mean())))
    return found
