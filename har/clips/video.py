"""Decode a clip and pick its frames.

A clip is decoded from front to back. Seeking (`CAP_PROP_POS_FRAMES`) starts anew from a key frame
each time and lands on the wrong frame in many files; headers overstate the number of frames. So
frames are counted by decoding them and picked from those that really decode. Most clips are decoded
once: which frames to pick is guessed from the header, and only wrong guesses are decoded again.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# FFmpeg's own complaints about a bad file say less than our row in rejected.csv. Must be set
# before OpenCV loads.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

import cv2
import numpy as np


class UnreadableVideoError(Exception):
    """A file from which no frame can be decoded; the message is the reason."""


class VideoFacts(NamedTuple):
    """What is known of a video after decoding it.

    Attributes:
        n_frames: frames that decode, which may be fewer than the header says.
        fps: frames per second by the header; 0.0 where it says nothing sensible.
        width: pixels of the first frame.
        height: pixels of the first frame.
    """

    n_frames: int
    fps: float
    width: int
    height: int


def even_indices(n_frames: int, count: int) -> np.ndarray:
    """Pick `count` of `n_frames` frames evenly: the middle frame of each of `count` equal parts.

    The segment centres of Wang et al., Temporal Segment Networks (ECCV 2016), in whole numbers.
    With fewer frames than asked, frames repeat.

    Args:
        n_frames: frames of the clip, ≥ 1.
        count: frames to pick, ≥ 1.

    Returns:
        int64 array of shape (count,), not decreasing, in [0, n_frames).

    Example:
        >>> even_indices(100, 4).tolist()
        [12, 37, 62, 87]
        >>> even_indices(2, 4).tolist()
        [0, 0, 1, 1]
    """
    if n_frames < 1 or count < 1:
        raise ValueError(
            "even_indices expects n_frames ≥ 1 and count ≥ 1. "
            f"Received: n_frames={n_frames}, count={count}"
        )
    return (2 * np.arange(count, dtype=np.int64) + 1) * n_frames // (2 * count)


def read_clip(path: Path, count: int, height: int, width: int) -> tuple[np.ndarray, VideoFacts]:
    """Decode a video and return frames picked evenly over all that decode.

    Args:
        path: a file that OpenCV's FFmpeg reads.
        count: frames to pick; frames repeat where the video has fewer.
        height: of the returned frames, pixels.
        width: of the returned frames, pixels.

    Returns:
        Frames of shape (count, height, width, 3), uint8, RGB, area-averaged; and the facts.

    Raises:
        UnreadableVideoError: no frame decodes; the message is the reason.
    """
    capture, fps = _open(path)
    frames = np.zeros((count, height, width, 3), np.uint8)
    taken, n_frames, size = _decode(capture, _Plan(capture, path, count), frames)
    if n_frames == 0:
        raise UnreadableVideoError(_why(path, "no frame decodes"))
    if n_frames == 1 and _is_picture(path):
        raise UnreadableVideoError("a picture, not a video")
    wanted = even_indices(n_frames, count)
    wrong = np.flatnonzero(taken != wanted)
    if wrong.size:
        _retake(_open(path)[0], wanted, wrong, frames)
    tall = cv2.cvtColor(frames.reshape(-1, width, 3), cv2.COLOR_BGR2RGB)  # all as one image
    return tall.reshape(frames.shape), VideoFacts(n_frames, fps, *size)


def shrink(frame: np.ndarray, height: int, width: int, out: np.ndarray | None = None) -> np.ndarray:
    """Resize a frame, uint8 (H, W, 3), to (height, width, 3): each pixel the mean of its area.

    Args:
        frame: to resize.
        height: pixels.
        width: pixels.
        out: where to put the result, of its shape; `None` makes a new array.
    """
    # Intel's primitives, where OpenCV has them, are five times as fast as its own loop, which
    # took a third of the time of extraction. They round some ties the other way and so are not
    # "exact". The setting belongs to the thread.
    cv2.ipp.setUseIPP_NotExact(True)
    return cv2.resize(frame, (width, height), dst=out, interpolation=cv2.INTER_AREA)


def iterate(path: Path) -> Iterator[np.ndarray]:
    """Yield every frame of a video, decoded in order, as (H, W, 3) uint8 RGB.

    Raises:
        UnreadableVideoError: the file is not a video that FFmpeg knows.
    """
    capture, _ = _open(path)
    while capture.grab():
        decoded, frame = capture.retrieve()
        if decoded:
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def length(path: Path) -> float:
    """Return the seconds of a video, by its header or, where that is silent, by decoding.

    A guess to plan by: headers overstate. What really decodes is known after `timed`.

    Raises:
        UnreadableVideoError: the file is not a video that FFmpeg knows.
    """
    capture, fps = _open(path)
    n_frames = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    capture.release()
    if n_frames > 0 and fps > 0:
        return n_frames / fps
    seconds = 0.0
    for seconds, _ in timed(path, height=1, width=1):  # noqa: B007 (the last one counts)
        pass
    return seconds


def timed(
    path: Path, height: int | None = None, width: int | None = None
) -> Iterator[tuple[float, np.ndarray]]:
    """Yield every frame with its time, decoded in order, one at a time.

    Times are the container's, so a variable frame rate is heeded; where they do not go up, as in
    a raw stream, frames follow one another at the header's frame rate, or 25 a second. A turned
    video (a phone's) comes upright.

    Args:
        path: a file that OpenCV's FFmpeg reads.
        height: of the frames, pixels, area-averaged as `read_clip` does; `None` leaves the size.
        width: the same.

    Yields:
        Seconds from the first frame, not decreasing; and the frame, (H, W, 3) uint8 RGB.

    Raises:
        UnreadableVideoError: the file is not a video that FFmpeg knows, or is a picture.
    """
    capture, fps = _open(path)
    step = 1 / (fps or 25.0)
    first = None
    n_frames = 0
    seconds = -step
    while capture.grab():
        at = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        decoded, frame = capture.retrieve()
        if not decoded:
            continue
        if first is None:
            first = at
        # An hour's gap is a broken time, not a pause.
        seconds = at - first if seconds < at - first < seconds + 3600 else seconds + step
        if height and width:
            frame = shrink(frame, height, width)
        n_frames += 1
        yield seconds, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    capture.release()
    if n_frames == 1 and _is_picture(path):
        raise UnreadableVideoError("a picture, not a video")


_PICTURES = (b"\x89PNG", b"BM", b"II*\0", b"MM\0*")


def _refuse(path: Path) -> None:
    """Refuse what FFmpeg would take for a video and no person would: it renders texts as such."""
    with path.open("rb") as file:
        head = file.read(1024)
    printable = all(byte >= 32 or byte in b"\t\n\r\f\x1b" for byte in head)
    if head and printable and not head.startswith(b"YUV4MPEG2"):
        raise UnreadableVideoError("a text file, not a video")


def _is_picture(path: Path) -> bool:
    # Raw Motion JPEG begins as a JPEG does; there only the name tells.
    with path.open("rb") as file:
        return path.suffix.lower() in (".jpg", ".jpeg") or file.read(4).startswith(_PICTURES)


def _open(path: Path) -> tuple[cv2.VideoCapture, float]:
    _refuse(path)
    # One thread a capture: clips are decoded side by side in a process per core.
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not capture.isOpened():
        raise UnreadableVideoError(_why(path, "not a video that FFmpeg reads"))
    fps = capture.get(cv2.CAP_PROP_FPS)
    # Containers without a frame rate give 0, NaN or their time base (90,000).
    return capture, round(fps, 3) if 0 < fps <= 1000 else 0.0


def _why(path: Path, reason: str) -> str:
    return "empty file" if path.stat().st_size == 0 else reason


class _Plan:
    """Which frames to take while it is not known how many there are.

    The header's count is a guess that saves a second decoding where it is right. In AVI it counts
    chunks, and what decodes of each tells which one it was: so those of which nothing decodes
    ("not coded", as encoders drop frames) show as gaps in time, and the guess gets better.
    """

    def __init__(self, capture: cv2.VideoCapture, path: Path, count: int) -> None:
        self._capture, self._path, self._count = capture, path, count
        self._expected = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self._rate = capture.get(cv2.CAP_PROP_FPS)
        self._first = self._gaps = 0
        self._are_chunks: bool | None = None
        self.indices = self._even()

    def follow(self, index: int) -> None:
        """Heed the time of the frame `index`, which has just been decoded."""
        position = round(self._capture.get(cv2.CAP_PROP_POS_MSEC) * self._rate / 1000)
        if index == 0:
            self._first = position
        gaps = position - self._first - index
        if gaps == self._gaps or self._are_chunks is False:
            return
        if self._are_chunks is None:
            with self._path.open("rb") as file:
                self._are_chunks = file.read(12)[8:] == b"AVI "
        if self._are_chunks:
            self._gaps = gaps
            self.indices = self._even()

    def _even(self) -> list[int]:
        n_frames = self._expected - self._gaps
        return even_indices(n_frames, self._count).tolist() if n_frames > 0 else []


def _decode(
    capture: cv2.VideoCapture, plan: _Plan, frames: np.ndarray
) -> tuple[np.ndarray, int, tuple[int, int]]:
    """Decode to the end and put down the frames of the plan, small and BGR.

    Args:
        capture: at its beginning.
        plan: which frames to take.
        frames: uint8 (count, height, width, 3) to write to.

    Returns:
        Which frames were taken, int64 (count,), -1 for none; how many there are; and the
        (width, height) of the first.
    """
    count, height, width = frames.shape[:3]
    taken = np.full(count, -1)
    size, image = (0, 0), None
    slot = index = stop = 0
    while capture.grab():
        # Only a wanted frame is converted to BGR and copied; the first tells the size.
        if index == stop:
            decoded, image = capture.retrieve(image)
            if not decoded:
                continue
            if index == 0:
                size = (image.shape[1], image.shape[0])
            plan.follow(index)
            indices = plan.indices
            while slot < len(indices) and indices[slot] <= index:
                if indices[slot] == index:
                    if slot and taken[slot - 1] == index:
                        frames[slot] = frames[slot - 1]
                    else:
                        shrink(image, height, width, frames[slot])
                    taken[slot] = index
                slot += 1
            stop = indices[slot] if slot < len(indices) else -1
        index += 1
    capture.release()
    return taken, index, size


def _retake(
    capture: cv2.VideoCapture, wanted: np.ndarray, slots: np.ndarray, frames: np.ndarray
) -> None:
    """Decode as far as needed and put down the frames `wanted` of the `slots`, small and BGR."""
    height, width = frames.shape[1:3]
    index, image = 0, None
    last = wanted[slots[-1]]
    stops = set(wanted.tolist())
    while index <= last and capture.grab():
        if index == 0 or index in stops:
            decoded, image = capture.retrieve(image)
            if not decoded:
                continue
            for slot in slots[wanted[slots] == index]:
                shrink(image, height, width, frames[slot])
        index += 1
    capture.release()
