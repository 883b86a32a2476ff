"""Figures of a timeline against the truth: frame accuracy, segment F1 and edit score.

As usual in temporal action segmentation (Lea et al., Temporal Convolutional Networks for Action
Segmentation and Detection, CVPR 2017).
"""

import csv
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from har.errors import UserError

NOTHING = "unknown"  # the class of what no span covers
OVERLAPS = (0.1, 0.25, 0.5)  # intersection over union from which a segment counts as found
_STEP = 0.02  # seconds between the moments behind the frame accuracy


class Span(NamedTuple):
    """A part of a video in which one action is seen; times in seconds."""

    start: float
    end: float
    action: str


def read(path: Path) -> list[Span]:
    """Read a CSV with the columns start, end and class, as `har predict --csv` writes it.

    Spans of one class that touch are one.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            spans = [Span(float(row["start"]), float(row["end"]), row["class"]) for row in rows]
        for span in spans:
            if not 0 <= span.start < span.end < np.inf:
                raise ValueError(f"{span.start:g} to {span.end:g}")
        if not spans:
            raise ValueError("no rows")
    except (FileNotFoundError, KeyError, ValueError, TypeError, csv.Error) as error:
        raise UserError(
            f"Expected a table with the columns start, end (seconds) and class at {path}. "
            f"Received: {error}."
        ) from None
    joined: list[Span] = []
    for span in sorted(spans):
        last = joined[-1] if joined else None
        if last and last.action == span.action and span.start <= last.end + _STEP:
            joined[-1] = last._replace(end=max(last.end, span.end))
        else:
            joined.append(span)
    return joined


def figures(found: Sequence[Span], truth: Sequence[Span]) -> dict[str, float]:
    """Return `frame_accuracy`, `f1_10`, `f1_25`, `f1_50` and `edit`, all from 0 to 1.

    What no span covers is `unknown`. It counts in the frame accuracy, and is no segment.
    """
    moments = np.arange(_STEP / 2, max(span.end for span in (*found, *truth)), _STEP)
    sides = [_actions(spans, moments) for spans in (found, truth)]
    parts = [[span for span in spans if span.action != NOTHING] for spans in (found, truth)]
    result = {"frame_accuracy": float((sides[0] == sides[1]).mean())}
    for overlap in OVERLAPS:
        result[f"f1_{overlap * 100:.0f}"] = _f1(*parts, overlap)
    names = [[action for action, _ in groupby(side) if action != NOTHING] for side in sides]
    longest = max(map(len, names))
    return result | {"edit": 1 - _distance(*names) / longest if longest else 1.0}


def _actions(spans: Sequence[Span], moments: np.ndarray) -> np.ndarray:
    actions = np.full(len(moments), NOTHING, dtype=object)
    for span in spans:
        actions[(moments >= span.start) & (moments < span.end)] = span.action
    return actions


def _f1(found: Sequence[Span], truth: Sequence[Span], overlap: float) -> float:
    left, hits = list(truth), 0
    for span in found:
        same = [other for other in left if other.action == span.action]
        best = max(same, key=lambda other: _overlap(span, other), default=None)
        if best and _overlap(span, best) >= overlap:
            left.remove(best)
            hits += 1
    return 2 * hits / (len(found) + len(truth)) if (*found, *truth) else 1.0


def _overlap(a: Span, b: Span) -> float:
    both = min(a.end, b.end) - max(a.start, b.start)
    return max(both, 0.0) / (max(a.end, b.end) - min(a.start, b.start))


def _distance(a: Sequence[str], b: Sequence[str]) -> int:
    # Levenshtein: insertions, deletions and changes from a to b.
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        last, row = row, [i]
        for j, y in enumerate(b, start=1):
            row.append(min(last[j] + 1, row[-1] + 1, last[j - 1] + (x != y)))
    return row[-1]
