"""Frames in as they come, probabilities out whenever asked: what live pictures need.

Time is cut into ticks, as many to a window as a clip has frames; the frame on display in the
middle of a tick stands for it, which is what `har.clips.video.even_indices` picks of a clip as long as
a window. So the places of a window stay where they are while it moves on, and what was computed
of them stays true: a new tick costs the network's frame part once, and the head. A network without
a frame part gets whole windows, and `Stream.whole_windows` says why.
"""

import math
import time
from collections import deque

import numpy as np

from har.clips import video
from har.predictor.recogniser import Recogniser


class Stream:
    """What one camera saw lately.

    Attributes:
        seconds: how far back an answer looks.
        whole_windows: why an answer costs a whole window; `None` where it does not.
        milliseconds: how long the last answers took, from the new frame on, newest last.
    """

    def __init__(self, recogniser: Recogniser, seconds: float | None = None) -> None:
        """Begin.

        Args:
            recogniser: the model.
            seconds: how far back an answer looks; `recogniser.seconds` by default.
        """
        self.seconds = seconds or recogniser.seconds
        self.milliseconds: deque[float] = deque(maxlen=100)
        self.whole_windows = recogniser.whole_windows
        self._recogniser = recogniser
        self._part = recogniser.frame_part
        count = recogniser.shape[0]
        self._tick = self.seconds / count
        self._frames: deque[np.ndarray] = deque(maxlen=count)
        self._features: deque[np.ndarray | None] = deque(maxlen=count)
        self._due = 0  # number of the next tick
        self._start: float | None = None
        self._shown: np.ndarray | None = None
        self._answer: np.ndarray | None = None
        self._spent = 0.0

    def push(self, at: float, frame: np.ndarray) -> None:
        """Take a new frame.

        Args:
            at: seconds, not before the last frame's.
            frame: uint8 (H, W, 3) RGB of any size.
        """
        begun = time.perf_counter()
        _, height, width = self._recogniser.shape
        if frame.shape[:2] != (height, width):
            frame = video.shrink(frame, height, width)
        if self._start is None:
            self._start = at
        # Ticks before this frame belong to the one before; one at the same moment to this.
        passed = (at - self._start) / self._tick - 0.5
        before = math.ceil(passed - 1e-3)
        # After a long pause only what a window holds is worth filling in.
        self._due = max(self._due, before - self._recogniser.shape[0])
        while self._due < before and self._shown is not None:
            self._take(self._shown)
        self._shown = frame
        if self._due <= passed + 1e-3:
            self._take(frame)
        self._spent = time.perf_counter() - begun

    def answer(self) -> np.ndarray:
        """Return the class probabilities of the last `seconds`, float64 (C,).

        Raises:
            ValueError: no frame has come yet.
        """
        begun = time.perf_counter()
        if self._shown is None:
            raise ValueError("Stream.answer expects a frame first. Received: none. Call push.")
        if self._answer is None:
            self._answer = self._computed()
        self.milliseconds.append((time.perf_counter() - begun + self._spent) * 1000)
        return self._answer

    def _take(self, frame: np.ndarray) -> None:
        """Let `frame` stand for the next tick."""
        self._due += 1
        self._answer = None
        self._frames.append(frame)
        if self._part:
            reach = self._part.spacing * (self._part.context - 1)
            if len(self._frames) <= reach:
                self._features.append(None)
            else:
                places = range(-1 - reach, 0, self._part.spacing)
                context = np.stack([self._frames[place] for place in places])
                self._features.append(self._part.features(context))

    def _computed(self) -> np.ndarray:
        count = self._recogniser.shape[0]
        frames = self._frames or [self._shown]
        if self._part and len(frames) == count:
            views = [[self._features[place] for place in view] for view in self._part.places]
            row = self._part.probabilities(np.array(views)).astype(np.float64)
            return row / row.sum()
        # The first window is not full yet: its frames are spread, as those of a short clip.
        clip = np.stack([frames[i] for i in video.even_indices(len(frames), count)])
        return self._recogniser.probabilities(clip[None])[0]
