"""From the answers of windows to what happened when.

The classes of neighbouring windows depend on each other: a change costs `CHANGE`. The likeliest
path through them is that of Viterbi (IEEE Trans. Information Theory, 1967); on a camera, where the
future is not known, the state with the best path so far. A segment of which no window is familiar,
or which is of the background, is unknown.
"""

from collections import deque
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np

UNKNOWN = "unknown"
# Nats a change costs, for each answer about one moment: a window is seen by several. Chosen on
# joined validation clips of the sample (docs/recogniser.md).
CHANGE = 1.5
CHANGE_LIVE = 1.0


class Segment(NamedTuple):
    """A part of a video with one label; times in seconds."""

    start: float
    end: float
    label: int | None  # index of the class; None where unknown
    probability: float  # mean probability of the label, or of the likeliest class


class Live:
    """Takes answers one at a time and gives the label; `answers` come within a window's length."""

    def __init__(self, answers: float, background: int | None = None) -> None:
        self._cost, self._background = CHANGE_LIVE * answers, background
        self._familiar: deque[float] = deque(maxlen=max(round(answers), 1))
        self._score: np.ndarray | float = 0.0

    def update(self, probabilities: np.ndarray, familiar: float) -> int | None:
        """Take probabilities (C,) and how familiar they are, from 0 on known; return the label."""
        best = np.maximum(self._score, np.max(self._score) - self._cost) + _log(probabilities)
        self._score = best - best.max()
        self._familiar.append(familiar)
        label = int(best.argmax())
        return None if label == self._background or max(self._familiar) < 0 else label


def path(evidence: np.ndarray, cost: float) -> np.ndarray:
    """Return the likeliest classes, int (N,), of log-probabilities (N, C), where a change costs."""
    score, before = evidence[0], np.zeros(evidence.shape, int)
    for i, row in enumerate(evidence[1:], start=1):
        best = int(score.argmax())
        stays = score >= score[best] - cost
        before[i] = np.where(stays, np.arange(len(row)), best)
        score = np.where(stays, score, score[best] - cost) + row
    labels = [int(score.argmax())]
    for row in before[:0:-1]:
        labels.append(int(row[labels[-1]]))
    return np.array(labels[::-1])


def segments(
    spans: Sequence[tuple[float, float]],
    probabilities: np.ndarray,
    familiar: np.ndarray,
    background: int | None = None,
    change: float = CHANGE,
) -> list[Segment]:
    """Turn windows into segments that cover the video without gap or overlap.

    `spans` are start and end of N ≥ 1 windows, seconds, in order, with probabilities (N, C) and how
    familiar each is, (N,), from 0 on known. An answer is about the middle of its window, and holds
    from half-way to the one before to half-way to the one after.
    """
    middles = [(start + end) / 2 for start, end in spans]
    step = np.median(np.diff(middles)) if len(spans) > 1 else 1.0
    seconds = np.median([end - start for start, end in spans])
    labels = path(_log(probabilities), change * max(seconds / max(step, 1e-9), 1.0))
    edges = [spans[0][0], *((a + b) / 2 for a, b in pairwise(middles)), spans[-1][1]]
    for label, run in groupby(range(len(spans)), key=labels.copy().__getitem__):
        places = list(run)
        if label == background or familiar[places].max() < 0:
            labels[places] = -1
    found: list[Segment] = []
    for label, run in groupby(range(len(spans)), key=labels.__getitem__):
        places = list(run)
        shares = probabilities[places].max(axis=1) if label < 0 else probabilities[places, label]
        span = edges[places[0]], edges[places[-1] + 1]
        found.append(Segment(*span, None if label < 0 else int(label), float(shares.mean())))
    return found


def _log(probabilities: np.ndarray) -> np.ndarray:
    return np.log(probabilities + 1e-6)
