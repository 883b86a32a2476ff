"""Which frames of a clip a network takes: the same for training, tests and predictions."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from har.clips import video

if TYPE_CHECKING:
    from har.clips.store import Clip
    from har.clips.video import VideoFacts


@dataclass(frozen=True)
class Sampling:
    """The frames that a network takes of a clip, as `input` of a model's card names them."""

    count: int  # frames of a window
    height: int  # pixels
    width: int
    step: int | None = None  # between frames of a window; None: evenly over the whole clip
    windows: int = 1  # one is the middle of the clip, several go from its start to its end

    def __post_init__(self) -> None:
        numbers = (self.count, self.height, self.width, self.step or 1, self.windows)
        if any(type(number) is not int or number < 1 for number in numbers):
            raise ValueError(f"Sampling expects whole numbers of at least 1. Received: {self}")

    def indices(self, n_frames: int) -> np.ndarray:
        """Return which of `n_frames` frames to take, int64 (windows·count,)."""
        if self.step is None:
            return video.even_indices(n_frames, self.count)
        return window_indices(n_frames, self.count, self.step, self.windows)

    def read(
        self,
        path: Path,
        facts: "VideoFacts | Clip | None" = None,
        start: float = 0.0,
        end: float | None = None,
    ) -> "tuple[np.ndarray, VideoFacts | Clip]":
        """Return frames of `start` to `end` seconds, uint8 (windows·count, H, W, 3), and the facts.

        Without `facts`, the number and size of its frames, the clip may be decoded twice. Raises
        an `UnreadableVideoError` where no frame decodes, or fewer than `facts` says.
        """
        if self.step is None:
            return video.read_clip(path, self.count, self.height, self.width, start, end)
        facts = facts or video.read_clip(path, 1, 8, 8, start, end)[1]
        wanted = self.indices(facts.n_frames)
        last, needed = int(wanted.max()), set(wanted.tolist())
        own = (frame for at, frame in video.timed(path) if video.within(at, start, end))
        taken = {
            index: video.shrink(frame, self.height, self.width)
            for index, frame in enumerate(islice(own, last + 1))
            if index in needed
        }
        if last not in taken:
            raise video.UnreadableVideoError(f"fewer frames than {facts.n_frames}")
        return np.stack([taken[index] for index in wanted.tolist()]), facts

    def timed(self, path: Path) -> Iterator[tuple[float, np.ndarray]]:
        """Yield every frame with its time as `har.clips.video.timed` does, scaled."""
        return video.timed(path, self.height, self.width)


def window_indices(n_frames: int, count: int, step: int, windows: int) -> np.ndarray:
    """Return the frames of windows of `count` frames, every `step`-th: int64 (windows·count,).

    One window is the middle of the clip; several go evenly from its start to its end. A clip that
    is too short is repeated, as Carreira & Zisserman do (CVPR 2017).

    Example:
        >>> window_indices(10, 3, 2, 2).tolist()
        [0, 2, 4, 4, 6, 8]
    """
    slack = max(n_frames - count * step, 0)
    starts = [slack // 2] if windows == 1 else [slack * i // (windows - 1) for i in range(windows)]
    return (np.add.outer(starts, step * np.arange(count, dtype=np.int64)) % n_frames).ravel()
