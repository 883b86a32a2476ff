"""The last seconds of a video: what a window is cut from, in files and live alike."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

import numpy as np

Item = TypeVar("Item")

# Containers round times to milliseconds: half of one tells "before" from "at the same time".
_ROUNDING = 5e-4


class Ring(Generic[Item]):
    """Items with their times, oldest first: frames, or what was computed from them.

    Attributes:
        changed: whether items came or went since `pick`.
    """

    def __init__(self) -> None:
        self._times: deque[float] = deque()
        self._items: deque[Item] = deque()
        self.changed = False

    def __len__(self) -> int:
        return len(self._items)

    def push(self, time: float, item: Item) -> None:
        """Add an item at `time`, in seconds, not before the last one's."""
        self._times.append(time)
        self._items.append(item)
        self.changed = True

    def forget(self, time: float) -> None:
        """Drop what is earlier than `time`, except the last item: a still picture stays."""
        while len(self._times) > 1 and self._times[0] < time - _ROUNDING:
            self._times.popleft()
            self._items.popleft()
            self.changed = True

    def pick(self, indices: Iterable[int]) -> list[Item]:
        """Return the items at `indices`."""
        self.changed = False
        return [self._items[i] for i in indices]


class Window(NamedTuple):
    """A stretch of a video as the model sees it.

    Attributes:
        start: seconds.
        end: seconds, exclusive.
        frames: uint8 (T, H, W, 3) RGB.
    """

    start: float
    end: float
    frames: np.ndarray


def windows(
    frames: Iterable[tuple[float, np.ndarray]],
    seconds: float,
    stride: float,
    indices: Callable[[int], np.ndarray],
) -> Iterator[Window]:
    """Cut a video into windows of equal length, holding about one window of frames at a time.

    Windows start at 0, `stride`, 2 `stride` …; a last one ends with the video. A video shorter
    than a window is one window. While the picture stands still, only the first and the last of
    the equal windows are cut: there are at most three windows a frame.

    Args:
        frames: times in seconds from 0, not decreasing, and frames, uint8 (H, W, 3).
        seconds: the length of a window, > 0.
        stride: from one window's start to the next one's, seconds, > 0.
        indices: which frames to take of a window with so many.

    Yields:
        The windows in order; none where there is no frame.
    """
    ring: Ring[np.ndarray] = Ring()
    n = 0
    end = last = gap = 0.0

    def cut(start: float) -> Window:
        return Window(start, end, np.stack(ring.pick(indices(len(ring)))))

    for time, frame in frames:
        while time >= n * stride + seconds - _ROUNDING:
            ring.forget(n * stride)
            end = n * stride + seconds
            if ring.changed or time < end + stride - _ROUNDING:
                yield cut(n * stride)
            n += 1
        ring.push(time, frame)
        # The next window begins at n · stride; the last one may begin earlier.
        ring.forget(min(n * stride, time - seconds))
        gap, last = time - last or gap, time
    finish = last + gap  # the last frame is shown as long as the one before it
    if len(ring) and (n == 0 or finish > end + 2 * _ROUNDING):
        start = max(finish - seconds, 0.0)
        ring.forget(start)
        end = finish
        yield cut(start)
