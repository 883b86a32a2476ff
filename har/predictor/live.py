"""Live video: frames in as they come, probabilities out.

The frame in the middle of a tick stands for it, and a window has as many ticks as the network takes
frames. Where an answer is slow, a thread computes it.
"""

import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from har.clips import video
from har.predictor.timeline import UNKNOWN, Live

if TYPE_CHECKING:
    from har.predictor.recogniser import Recogniser

EVERY = 0.2  # seconds between two answers
_FPS = 25.0  # ticks a second for networks that take neighbouring frames
_SLOW = 100.0  # ms an answer; a camera gives two or three frames meanwhile


class Stream:
    """What one camera saw in the last `seconds`.

    `milliseconds` is how long the last answers took, from the new frame on; `familiar`, how
    familiar the last one is: from 0 on known; `label`, what happens, by all answers so far.
    """

    def __init__(self, recogniser: "Recogniser", seconds: float | None = None) -> None:
        self.seconds = seconds or recogniser.seconds
        self.milliseconds: deque[float] = deque(maxlen=100)
        self._recogniser = recogniser
        sampling = recogniser.sampling
        evenly = sampling.step is None
        self._count = sampling.count if evenly else max(round(self.seconds * _FPS), 1)
        self._tick = self.seconds / self._count
        self._frames: deque[np.ndarray] = deque(maxlen=self._count)
        self._due = 0  # number of the next tick
        self._start: float | None = None
        self._shown: np.ndarray | None = None
        self._changed = False  # frames, since the last answer
        self._answer = np.empty(0)  # none yet
        self.label, self._judged = UNKNOWN, -math.inf
        answers = self.seconds / (1.0 if self.slow else EVERY)
        self._live = Live(answers, recogniser.background)
        self._begun = 0.0  # the last answer
        self._pending: Future[tuple[np.ndarray, float]] | None = None
        self._thread = ThreadPoolExecutor(1)  # starts with its first task
        self._spent = 0.0

    @property
    def slow(self) -> bool:
        """Whether a thread computes the answers: `answer` returns the last one."""
        times = self.milliseconds or [self._recogniser.milliseconds]
        return times[-1] > _SLOW

    def push(self, at: float, frame: np.ndarray) -> None:
        """Take a frame, uint8 (H, W, 3) RGB; `at`, in seconds, is not before the last frame's."""
        begun, self._at = time.perf_counter(), at
        size = self._recogniser.shape[1:]
        if frame.shape[:2] != size:
            frame = video.shrink(frame, *size)
        if self._start is None:
            self._start = at
        # Ticks before this frame belong to the one before; one at the same moment to this.
        passed = (at - self._start) / self._tick - 0.5
        before = math.ceil(passed - 1e-3)
        # After a long pause only what a window holds is worth filling in.
        self._due = max(self._due, before - self._count)
        while self._due < before and self._shown is not None:
            self._take(self._shown)
        self._shown = frame
        if self._due <= passed + 1e-3:
            self._take(frame)
        self._spent = time.perf_counter() - begun

    def answer(self) -> np.ndarray:
        """Return the class probabilities of the last `seconds`, float64 (C,).

        It sets `familiar`, and `label` every `EVERY` seconds.

        Raises:
            ValueError: no frame has come yet.
        """
        if self._shown is None:
            raise ValueError("Stream.answer expects a frame first. Received: none. Call push.")
        if self._pending and self._pending.done():
            self._keep(*self._pending.result())
            self._pending = None
        elif self._pending is None and (self._changed or not self._answer.size):
            if not self.slow or not self._answer.size:
                self._keep(*_timed(self._work()))
            # Half of the time is left to others, but there is an answer a second.
            elif time.perf_counter() >= self._begun + min(self.milliseconds[-1] / 500, 1.0):
                self._pending = self._thread.submit(_timed, self._work())
        return self._answer

    def _keep(self, answer: np.ndarray, seconds: float) -> None:
        self._answer, self.familiar = answer[:-1], float(answer[-1])
        if self._at >= self._judged + EVERY - 1e-3:
            self._judged = self._at
            found = self._live.update(self._answer, self.familiar)
            self.label = UNKNOWN if found is None else self._recogniser.names[found]
        self.milliseconds.append((seconds + self._spent) * 1000)

    def _take(self, frame: np.ndarray) -> None:
        self._due += 1
        self._changed = True
        self._frames.append(frame)

    def _work(self) -> Callable[[], np.ndarray]:
        self._changed, self._begun = False, time.perf_counter()
        frames = self._frames or [self._shown]
        # The first window is not full yet: its frames are spread, as those of a short clip.
        indices = self._recogniser.sampling.indices(len(frames))
        clip = np.stack([frames[i] for i in indices])[None]
        return lambda: self._recogniser.answers(clip)[0]


def _timed(work: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    begun = time.perf_counter()
    return work(), time.perf_counter() - begun
