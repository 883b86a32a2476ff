"""A video with what was recognised written on it, as browsers play it: H.264 in MP4."""

import functools
import importlib.util
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from har.clips import video
from har.errors import UserError
from har.predictor.prediction import Prediction, Report

_CLOCK = 90_000  # ticks a second, of most video formats
_LONGEST, _WIDEST_SMALL = 1920, 320


def annotate(prediction: Prediction, path: Path, output: Path, report: Report = float) -> None:
    """Write the video at `path` with its labels on it to the MP4 `output`, whole or not at all."""
    actions = iter(prediction.actions)
    action = next(actions)
    with AnnotatedVideo(output) as written:
        for seconds, frame in video.timed(path):
            while seconds >= action.end and (following := next(actions, None)):
                action = following
            share = min(seconds / max(prediction.seconds, 1e-9), 1.0)
            written.write(seconds, frame, action.name, action.probability, share)
            report(share)


def playable(path: Path, output: Path, start: float = 0.0, end: float | None = None) -> None:
    """Write a video, or its part from `start` to `end` seconds, as `annotate` does."""
    with AnnotatedVideo(output) as written:
        for seconds, frame in video.timed(path):
            if video.within(seconds, start, end):
                written.write(seconds - start, frame)


class AnnotatedVideo:
    """An MP4 that is being written; it appears when the `with` statement ends well."""

    def __init__(self, output: Path) -> None:
        check_writable(output)
        import av

        # FFmpeg takes what stands before a colon of a relative name for a protocol.
        self._output = output = output.absolute()
        output.parent.mkdir(parents=True, exist_ok=True)
        self._part = output.with_name(f".{output.name}.part")
        options = {"movflags": "faststart"}
        self._container = av.open(str(self._part), "w", format="mp4", options=options)
        self._stream = None
        self._last = -1

    def write(
        self,
        seconds: float,
        frame: np.ndarray,
        label: str | None = None,
        probability: float = 0.0,
        share: float = 0.0,
    ) -> None:
        """Add a frame, uint8 (H, W, 3) RGB, which is brought to the size of the first.

        `share` is how much of the video has gone by, in [0, 1]; 0 draws no line.
        """
        import av

        stream = self._stream
        if stream is None:
            stream = self._stream = self._container.add_stream("libx264", rate=25)
            stream.width, stream.height = _playable_size(*frame.shape[:2])
            stream.pix_fmt = "yuv420p"
            stream.options = {"crf": "23", "preset": "veryfast"}
            stream.codec_context.time_base = Fraction(1, _CLOCK)
        size = stream.width, stream.height
        if frame.shape[1::-1] != size:
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        if label is not None:
            frame = _drawn(frame, label, probability, share)
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")
        self._last = max(round(seconds * _CLOCK), self._last + 1)
        picture.pts, picture.time_base = self._last, Fraction(1, _CLOCK)
        self._container.mux(stream.encode(picture))

    def __enter__(self) -> "AnnotatedVideo":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # After a UserError, a camera that is unplugged, what it filmed until then stays.
        whole = self._stream is not None and (kind is None or issubclass(kind, UserError))
        try:
            if whole:
                self._container.mux(self._stream.encode())
            self._container.close()
            if whole:
                self._part.replace(self._output)
        finally:
            self._part.unlink(missing_ok=True)


def check_writable(output: Path) -> None:
    """Raise a `UserError` where no annotated video can be written to `output`."""
    if output.suffix.lower() != ".mp4":
        raise UserError(
            f"Expected a file name that ends with .mp4. Received: {output}. "
            "Annotated videos are H.264 in MP4, which every browser plays."
        )
    if not importlib.util.find_spec("av"):
        raise UserError(
            'PyAV, which writes annotated videos, is missing. Run `pip install "har-lab[video]"`.'
        )


def _playable_size(height: int, width: int) -> tuple[int, int]:
    # (width, height) that H.264 players take: even, not huge; and wide enough to read.
    longest = max(height, width)
    scale = min(max(longest, _WIDEST_SMALL), _LONGEST) / longest
    return tuple(max(round(side * scale / 2) * 2, 2) for side in (width, height))


def _drawn(frame: np.ndarray, label: str, probability: float, share: float) -> np.ndarray:
    height, width = frame.shape[:2]
    frame = frame.copy()
    strip = _strip(label, f"{probability:.0%}", width, max(height // 10, 18))[:height]
    below = frame[height - len(strip) :]
    below[:] = (below.astype(np.uint16) + 2 * strip) // 3
    if share:
        frame[-3:, : round(width * share)] = (255, 255, 255)
    return frame


@functools.lru_cache(maxsize=64)
def _strip(label: str, note: str, width: int, height: int) -> np.ndarray:
    from PIL import Image, ImageDraw, ImageFont

    from har import plots

    picture = Image.new("RGB", (width, height))
    font = ImageFont.truetype(plots.font_of(label), height * 0.6)
    draw = ImageDraw.Draw(picture)
    draw.text((height * 0.3, height / 2), label, anchor="lm", font=font, fill="white")
    draw.text((width - height * 0.3, height / 2), note, anchor="rm", font=font, fill="white")
    return np.asarray(picture, np.uint16)
