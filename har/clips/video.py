"""Decode a clip and pick its frames.

Seeking lands on the wrong frame in many files, so a clip is decoded from its start. Which frames to
pick is guessed from the header; where that is wrong, it is decoded twice.
"""

import contextlib
import math
import mimetypes
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

# FFmpeg's demuxers of video files; it takes raw Motion JPEG for `jpeg_pipe` too. Without a list it
# also reads playlists, which name other files, and renders texts as videos.
OPTIONS = {
    "format_whitelist": "apng,asf,av1,avi,dv,flv,gif,gxf,h264,hevc,ivf,jpeg_pipe,m4v,matroska,"
    "mjpeg,mov,mp4,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,rm,vc1,vvc,webm,wtv,yuv4mpegpipe",
    "protocol_whitelist": "file",
}
_FOR_OPENCV = {
    "OPENCV_FFMPEG_CAPTURE_OPTIONS": "|".join(f"{key};{value}" for key, value in OPTIONS.items()),
    "OPENCV_FFMPEG_LOGLEVEL": "-8",
}
FAILURES = 50  # grabs in a row; one packet that does not decode, or 4,096 of other streams, is one
GAP = 3600.0  # seconds between frames; more is a broken time stamp, not a pause
UNEVEN = 0.1  # of the duration; how far frames may be from an even rate and still count as even
BAD_NAME = "its name is not UTF-8; rename it"
DEFAULT_FPS = 25.0
ROUNDING = 0.0005  # seconds; tables are written to the millisecond
TOLERANCE = 0.1  # seconds by which a part may end after its video: people round
SLOWEST, FASTEST = 0.01, 1000.0  # frames per second; other rates are errors or time bases


class UnreadableVideoError(Exception):
    """A file from which no frame can be decoded; the message is the reason."""


class VideoFacts(NamedTuple):
    """What is known of a clip after decoding it."""

    n_frames: int  # that decode
    fps: float  # by the header; by time stamps where they differ by a tenth; 0.0 where unknown
    width: int  # pixels of the first frame
    height: int


def even_indices(n_frames: int, count: int) -> np.ndarray:
    """Pick the middle frame of each of `count` equal parts, int64 (count,) in [0, n_frames).

    Wang et al., Temporal Segment Networks (ECCV 2016). With fewer frames than asked, frames repeat.

    Example:
        >>> even_indices(100, 4).tolist()
        [12, 37, 62, 87]
    """
    if n_frames < 1 or count < 1:
        raise ValueError(f"Expected numbers ≥ 1. Received: n_frames={n_frames}, count={count}")
    return (2 * np.arange(count, dtype=np.int64) + 1) * n_frames // (2 * count)


def read_clip(
    path: Path, count: int, height: int, width: int, start: float = 0.0, end: float | None = None
) -> tuple[np.ndarray, VideoFacts]:
    """Return evenly picked frames, uint8 (count, height, width, 3) RGB, and the facts.

    `start` and `end` are seconds from the first frame; a frame at `end` is not taken, and None is
    the end of the video. Where no frame decodes, an `UnreadableVideoError` says why.
    """
    [clip] = read_spans(path, [(start, end)], count, height, width)
    if isinstance(clip, str):
        raise UnreadableVideoError(clip)
    return clip


Span = tuple[float, float | None]  # seconds from the first frame; None: to the end


def read_spans(
    path: Path, spans: Sequence[Span], count: int, height: int, width: int
) -> list[tuple[np.ndarray, VideoFacts] | str]:
    """Decode parts of one video in one pass; return each as `read_clip`, or why it has no frame."""
    capture = _open(path)
    fps = _rate(capture)
    guess = np.unique(_guess(spans, capture.get(cv2.CAP_PROP_FRAME_COUNT), fps, count))
    ends = [end for _, end in spans]
    until = math.inf if None in ends else max(ends)
    frames = np.zeros((len(guess), height, width, 3), np.uint8)
    stamps, size = _decode(capture, guess, frames, until)
    _check_frames(path, capture, len(stamps))
    parts = [_part(stamps, fps, span, count) for span in spans]
    wanted = np.unique([part[0] for part in parts if not isinstance(part, str)])
    if not np.isin(wanted, guess).all():
        guess, frames = wanted, np.zeros((len(wanted), height, width, 3), np.uint8)
        _decode(_open(path), wanted, frames, until)
    if len(frames):
        tall = frames.reshape(-1, width, 3)  # all as one image
        cv2.cvtColor(tall, cv2.COLOR_BGR2RGB, dst=tall)
    return [
        part
        if isinstance(part, str)
        else (frames[np.searchsorted(guess, part[0])], VideoFacts(*part[1:], *size))
        for part in parts
    ]


def _guess(spans: Sequence[Span], n_frames: float, fps: float | None, count: int) -> np.ndarray:
    # The frames to take by the header, (len(spans), count); -1 where it tells nothing.
    if not 0 < n_frames < 1e9:
        return np.full((1, count), -1)
    rate, last = fps or DEFAULT_FPS, int(n_frames)
    picks = [np.full(count, -1)]
    for start, end in spans:
        low = max(math.ceil((start - ROUNDING) * rate), 0)
        high = last if end is None else min(math.ceil((end - ROUNDING) * rate), last)
        if low < high:
            picks.append(low + even_indices(high - low, count))
    return np.stack(picks[1:] or picks)


def _part(
    stamps: np.ndarray, fps: float | None, span: Span, count: int
) -> tuple[np.ndarray, int, float] | str:
    """Return the frames of a part to take, how many it has and its rate, or why it has none."""
    start, end = span
    if span == (0.0, None):
        low, high = 0, len(stamps)
    else:
        times = [0.0]
        for at in (stamps - stamps[0]).tolist()[1:]:
            times.append(_advance(times[-1], at, fps))
        length = times[-1] + (float(np.median(np.diff(times))) if len(times) > 1 else 0.0)
        if max(start, end or 0.0) > length + TOLERANCE:
            return f"it is {length:.2f} s long by its time stamps, not {end or start:g} s"
        low, high = np.searchsorted(times, [start - ROUNDING, (end or math.inf) - ROUNDING])
    if low == high:
        return f"no frame from {start:g} s to {'its end' if end is None else f'{end:g} s'}"
    picked, fps = _pick(stamps[low:high], fps, count)
    return low + picked, int(high - low), fps or 0.0


def _advance(seconds: float, at: float, fps: float | None) -> float:
    # The time of the frame after `seconds`: its time stamp `at`, where that can be.
    known = fps is not None and 0.5 / FASTEST < at - seconds < GAP
    return at if known else seconds + 1 / (fps or DEFAULT_FPS)


def within(seconds: float, start: float, end: float | None) -> bool:
    """Return whether a frame at `seconds` belongs to the part from `start` to `end`."""
    return start <= seconds + ROUNDING < (math.inf if end is None else end)


def shrink(frame: np.ndarray, height: int, width: int, out: np.ndarray | None = None) -> np.ndarray:
    """Resize a frame, uint8 (H, W, 3), to (height, width, 3): each pixel the mean of its area."""
    # Intel's primitives are five times as fast as OpenCV's own loop, but round some ties the other
    # way. The setting belongs to the thread.
    cv2.ipp.setUseIPP_NotExact(True)
    return cv2.resize(frame, (width, height), dst=out, interpolation=cv2.INTER_AREA)


def length(path: Path) -> float:
    """Return the seconds of a video by its header, which may overstate, or else by decoding."""
    capture = _open(path)
    fps = _rate(capture)
    n_frames = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    # Below one frame a second the header's rate is an average over pauses.
    if n_frames > 0 and fps and fps >= 1:
        return n_frames / fps
    seconds = 0.0
    for seconds, _ in timed(path, height=1, width=1):  # noqa: B007 (the last one counts)
        pass
    return seconds


def timed(
    path: Path, height: int | None = None, width: int | None = None
) -> Iterator[tuple[float, np.ndarray]]:
    """Yield the seconds from the first frame, increasing, and the frame, (H, W, 3) uint8 RGB.

    Times are the container's; where they do not go up, as in a raw stream, frames follow one
    another at the header's frame rate, or 25 a second. Turned videos (of phones) come upright.
    Frames are area-averaged to `height` and `width`; None leaves their size. Where no frame
    decodes, or the file is a picture, an `UnreadableVideoError` says so at the end.
    """
    capture = _open(path)
    fps = _rate(capture)
    first, seconds, n_frames = 0.0, 0.0, 0
    while _grab(capture):
        at = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        decoded, frame = capture.retrieve()
        if not decoded:
            continue
        first = first if n_frames else at
        seconds = _advance(seconds, at - first, fps) if n_frames else 0.0
        n_frames += 1
        if height and width:
            frame = shrink(frame, height, width)
        yield seconds, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    _check_frames(path, capture, n_frames)


_CHANGING = threading.Lock()


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for what reads nothing else, and restore them."""
    with _CHANGING:
        before = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def _open(path: Path) -> Any:
    path = path.absolute()  # FFmpeg takes "10:30.mp4" for the protocol "10"
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UnreadableVideoError(BAD_NAME) from None
    # What OpenCV and FFmpeg log of a bad file says less than our reason.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    with path.open("rb"), environment(_FOR_OPENCV):
        # One thread a capture: clips are decoded side by side in a process per core.
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not capture.isOpened():
        raise UnreadableVideoError(_what_it_is(path) or "not a video that FFmpeg reads")
    return capture


def _rate(capture: Any) -> float | None:
    # The header's frames per second, 0.0 where unknown, None where times are wrong too.
    fps = capture.get(cv2.CAP_PROP_FPS)
    if 0 < fps < SLOWEST:
        return None
    # Containers without a frame rate give 0, NaN or their time base (90,000).
    return round(fps, 3) if 0 < fps <= FASTEST else 0.0


def _grab(capture: Any) -> bool:
    # One packet that does not decode does not end a video.
    return capture.grab() or any(capture.grab() for _ in range(FAILURES))


_PICTURES = (b"\x89PNG", b"BM", b"II*\0", b"MM\0*", b"GIF8", b"\xff\xd8\xff", b"\0\0\0\x0cjP  ")
_PICTURES += tuple(b"P%d" % i for i in range(1, 8))  # PPM and its kin
_IN_CONTAINERS = (b"WEBP", b"avif", b"heic", b"heix", b"mif1")


def _what_it_is(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(1024)
    if not head:
        return "empty file"
    # Raw Motion JPEG begins as a JPEG does; there only the name tells.
    raw = path.suffix.lower() in (".mjpeg", ".mjpg")
    if not raw and (head.startswith(_PICTURES) or head[8:12] in _IN_CONTAINERS):
        return "a picture, not a video"
    if (mimetypes.guess_type(path.name)[0] or "").startswith("audio/"):
        return "a sound file, not a video"
    printable = all(byte >= 32 or byte in b"\t\n\r\f\x1b" for byte in head)
    return "a text file, not a video" if printable and not head.startswith(b"YUV4MPEG2") else ""


def _check_frames(path: Path, capture: Any, n_frames: int) -> None:
    if n_frames < 2 and (reason := _what_it_is(path)):
        raise UnreadableVideoError(reason)
    if n_frames == 0:
        codec = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little")
        av1 = ": OpenCV has no decoder for AV1; convert it to H.264 (ffmpeg -i in.mp4 out.mp4)"
        raise UnreadableVideoError("no frame decodes" + av1 * (codec.lower() == b"av01"))


def _pick(stamps: np.ndarray, fps: float | None, count: int) -> tuple[np.ndarray, float | None]:
    n_frames, steps = len(stamps), np.diff(stamps)
    evenly = even_indices(n_frames, count)
    if fps is None or n_frames < 2 or steps.min() < 0.5 / FASTEST or steps.max() > GAP:
        return evenly, fps
    seconds = stamps - stamps[0]
    duration = seconds[-1] + np.median(steps)  # the last frame is shown for as long as most
    rate = n_frames / duration
    if not fps or abs(rate / fps - 1) > UNEVEN:
        fps = round(float(rate), 3)
    if np.abs(seconds - np.arange(n_frames) / rate).max() > UNEVEN * duration:
        # The frame that is shown in the middle of each of `count` equal parts of the duration.
        middles = (2 * np.arange(count) + 1) * duration / (2 * count)
        return np.searchsorted(seconds, middles, side="right") - 1, fps
    return evenly, fps


def _decode(
    capture: Any, indices: np.ndarray, frames: np.ndarray, until: float
) -> tuple[np.ndarray, tuple[int, int]]:
    # Decode up to the time `until` and put the frames `indices`, small and BGR, into `frames`.
    # Return the time stamp of every frame in seconds, and the (width, height) of the first.
    count, height, width = frames.shape[:3]
    stamps: list[float] = []
    size, image = (0, 0), None
    slot, stop = 0, 0
    while _grab(capture):
        # Only a wanted frame is converted to BGR and copied; the first tells the size.
        index = len(stamps)
        if index == stop:
            decoded, image = capture.retrieve(image)
            if not decoded:
                continue
            if index == 0:
                size = (image.shape[1], image.shape[0])
            if slot < count and indices[slot] == index:
                shrink(image, height, width, frames[slot])
                slot += 1
            stop = indices[slot] if slot < count else -1
        stamps.append(capture.get(cv2.CAP_PROP_POS_MSEC))
        if until <= (stamps[-1] - stamps[0]) / 1000 < until + GAP:
            break
    return np.array(stamps) / 1000, size
