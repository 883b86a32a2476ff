"""What a model says of one video: read, cut, recognised, smoothed."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from har.clips import video
from har.predictor.recogniser import BATCH, Recogniser
from har.predictor.timeline import UNKNOWN, Segment, Smoothing, segments
from har.predictor.windows import Window, windows

CLIP, TIMELINE = "clip", "timeline"


@dataclass(frozen=True)
class Settings:
    """How a video is looked at.

    Attributes:
        kind: `clip`, one answer of the whole video; `timeline`, answers along it; `None` goes by
            its length.
        clip_seconds: what is no longer is a clip, where `kind` is `None`.
        window: seconds of video behind one answer; `None` is the recogniser's.
        stride: seconds from one answer to the next; `None` is a quarter of the window.
        smoothing: from windows to labels.
    """

    kind: str | None = None
    clip_seconds: float = 30.0
    window: float | None = None
    stride: float | None = None
    smoothing: Smoothing = field(default_factory=Smoothing)


@dataclass(frozen=True)
class Prediction:
    """What a model says of one video.

    Attributes:
        source: what the user named, or the path of a file in a folder.
        kind: `clip` or `timeline`.
        spans: start and end of each window, seconds; a clip is one window.
        probabilities: float64 (N, C), one row a window, rows sum to 1.
        segments: what happened when; they cover the video.
    """

    source: str
    kind: str
    spans: list[tuple[float, float]]
    probabilities: np.ndarray
    segments: list[Segment]

    @property
    def seconds(self) -> float:
        """The length of the video."""
        return self.spans[-1][1]

    @property
    def overall(self) -> np.ndarray:
        """The mean of the windows' probabilities, (C,); a clip's own."""
        return self.probabilities.mean(axis=0)


def predict(recogniser: Recogniser, path: Path, settings: Settings, source: str) -> Prediction:
    """Recognise what happens in a video file, which is never held in memory as a whole.

    Args:
        recogniser: the model.
        path: a file that FFmpeg reads.
        settings: how.
        source: what to call it.

    Raises:
        UnreadableVideoError: no frame decodes; the message is the reason.
    """
    length = video.length(path)
    kind = settings.kind or (CLIP if length <= settings.clip_seconds else TIMELINE)
    if kind == CLIP:
        return predict_clip(recogniser, path, settings.smoothing, source)[0]
    count, height, width = recogniser.shape
    seconds = settings.window or recogniser.seconds
    stride = settings.stride or seconds / 4
    spans, rows = [], []
    cut = windows(video.timed(path, height, width), seconds, stride, count)
    with tqdm(total=round(length), desc=path.name, unit="s", disable=None, leave=False) as bar:
        for batch in _batches(cut):
            rows.append(recogniser.probabilities(np.stack([window.frames for window in batch])))
            spans += [(window.start, window.end) for window in batch]
            bar.update(max(round(spans[-1][1]) - bar.n, 0))
    if not spans:
        raise video.UnreadableVideoError("no frame decodes")
    probabilities = np.concatenate(rows)
    found = segments(spans, probabilities, settings.smoothing)
    return Prediction(source, TIMELINE, spans, probabilities, found)


def predict_clip(
    recogniser: Recogniser, path: Path, smoothing: Smoothing, source: str
) -> tuple[Prediction, np.ndarray]:
    """Recognise a clip from frames of its whole length, as training and `evaluate` pick them.

    Returns:
        The prediction, and the frames that the network saw, uint8 (T, H, W, 3) RGB.

    Raises:
        UnreadableVideoError: as `predict`.
    """
    frames, facts = video.read_clip(path, *recogniser.shape)
    spans = [(0.0, facts.n_frames / (facts.fps or 25.0))]
    probabilities = recogniser.probabilities(frames[None])
    found = segments(spans, probabilities, smoothing)
    return Prediction(source, CLIP, spans, probabilities, found), frames


def as_json(prediction: Prediction, recogniser: Recogniser, k: int) -> dict[str, Any]:
    """Return a prediction as JSON holds it; probabilities have 8 digits.

    Args:
        prediction: of one video.
        recogniser: the model it is from.
        k: how many of the likeliest classes to name of each window.
    """

    def top(row: np.ndarray, k: int) -> list[dict[str, Any]]:
        best = recogniser.top(row, k)
        return [{"class": name, "probability": round(p, 8)} for name, p in best]

    answer = {
        "source": prediction.source,
        "kind": prediction.kind,
        "seconds": round(prediction.seconds, 3),
        "top": top(prediction.overall, k),
        "probabilities": {
            name: round(float(p), 8)
            for name, p in zip(recogniser.classes, prediction.overall, strict=True)
        },
        "segments": [
            {
                "start": round(segment.start, 3),
                "end": round(segment.end, 3),
                "class": name_of(segment, recogniser.classes),
                "probability": round(segment.probability, 8),
            }
            for segment in prediction.segments
        ],
    }
    if prediction.kind == TIMELINE:
        answer["windows"] = [
            {"start": round(start, 3), "end": round(end, 3), "top": top(row, k)}
            for (start, end), row in zip(prediction.spans, prediction.probabilities, strict=True)
        ]
    return answer


def name_of(segment: Segment, classes: list[str]) -> str:
    """Return the name of a segment's class, or `unknown`."""
    return UNKNOWN if segment.label is None else classes[segment.label]


def _batches(cut: Iterator[Window]) -> Iterator[list[Window]]:
    while batch := list(islice(cut, BATCH)):
        yield batch
