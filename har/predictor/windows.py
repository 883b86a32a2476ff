"""Windows of a video, cut while it is decoded."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

# Containers round times to milliseconds: half of one tells "before" from "at the same time".
_ROUNDING = 5e-4


class Window(NamedTuple):
    """A part of a video as the model sees it: uint8 (T, H, W, 3) RGB; times in seconds."""

    start: float
    end: float
    frames: np.ndarray


def windows(
    frames: Iterable[tuple[float, np.ndarray]],
    seconds: float,
    stride: float,
    indices: Callable[[int], np.ndarray],
) -> Iterator[Window]:
    """Cut a video into windows of `seconds`; one window of frames is in memory at a time.

    Windows start at 0, `stride` seconds, 2 `stride` …; a last one ends with the video. A shorter
    video is one window. Of equal windows, while the picture stands still, only the first and the
    last are cut. `frames` are seconds from 0, not decreasing, and frames, uint8 (H, W, 3);
    `seconds` and `stride` are above 0; `indices` tells which frames to take of a window of n.
    """
    kept: deque[tuple[float, np.ndarray]] = deque()
    n = n_changes = cut_at = 0
    end = last = gap = 0.0

    def forget(before: float) -> None:
        nonlocal n_changes
        # All but the last frame: a still picture stays.
        while len(kept) > 1 and kept[0][0] < before - _ROUNDING:
            kept.popleft()
            n_changes += 1

    def cut(start: float) -> Window:
        return Window(start, end, np.stack([kept[i][1] for i in indices(len(kept))]))

    for time, frame in frames:
        while time >= n * stride + seconds - _ROUNDING:
            forget(n * stride)
            end = n * stride + seconds
            if n_changes != cut_at or time < end + stride - _ROUNDING:
                cut_at = n_changes
                yield cut(n * stride)
            n += 1
        kept.append((time, frame))
        n_changes += 1
        # The next window begins at n · stride; the last one may begin earlier.
        forget(min(n * stride, time - seconds))
        gap, last = time - last or gap, time
    finish = last + gap  # the last frame is shown as long as the one before it
    if kept and (n == 0 or finish > end + 2 * _ROUNDING):
        end = finish
        forget(max(finish - seconds, 0.0))
        yield cut(max(finish - seconds, 0.0))
