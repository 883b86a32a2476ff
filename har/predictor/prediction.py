"""What a model says of one video: read, cut, recognised, smoothed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from har.clips import video
from har.errors import UserError
from har.predictor.timeline import UNKNOWN, Segment, segments
from har.predictor.windows import windows

if TYPE_CHECKING:
    from har.predictor.recogniser import Recogniser

CLIP, TIMELINE = "clip", "timeline"
Report = Callable[[float], object]  # takes the share of the work that is done
_CLIP_SECONDS = 30.0  # the longest clip, where the kind is not given


@dataclass(frozen=True)
class Settings:
    """How a video is recognised."""

    kind: str | None = None  # clip: one answer; timeline: answers along it; None: by its length
    window: float | None = None  # seconds behind one answer; None: the recogniser's
    stride: float | None = None  # seconds between answers; None: the recogniser's part of it


@dataclass(frozen=True)
class Action:
    """A part of a video with one answer; times in seconds."""

    start: float
    end: float
    name: str  # of the class, or `unknown`
    probability: float


@dataclass(frozen=True, repr=False)
class Prediction:
    """What a model says of one video; a notebook shows bars, thumbnails or a timeline."""

    source: str  # what the user named, or the path of a file in a folder
    kind: str  # CLIP or TIMELINE
    spans: list[tuple[float, float]]  # start and end of each window, seconds; a clip is one
    probabilities: np.ndarray  # float64 (N, C), one row a span, rows sum to 1
    familiar: np.ndarray  # float64 (N,): below 0 a span is of no class that the model knows
    segments: list[Segment]  # they cover the video
    names: list[str]  # of the classes, as answers show them
    model: str  # Recogniser.describe()

    @property
    def seconds(self) -> float:
        """The length of the video."""
        return self.spans[-1][1]

    @property
    def overall(self) -> np.ndarray:
        """The mean of the windows' probabilities, (C,); a clip's own."""
        return self.probabilities.mean(axis=0)

    @property
    def actions(self) -> list[Action]:
        """What happens when: the segments with the names of their classes."""
        names = [UNKNOWN if s.label is None else self.names[s.label] for s in self.segments]
        parts = zip(self.segments, names, strict=True)
        return [Action(s.start, s.end, name, s.probability) for s, name in parts]

    @property
    def label(self) -> str:
        """The name of the longest action: of a clip, its only one."""
        return max(self.actions, key=lambda action: action.end - action.start).name

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """Return the `k` likeliest classes and their probabilities, likeliest first."""
        return likeliest(self.overall, self.names, k)

    def __repr__(self) -> str:
        from har.predictor import outputs

        return f"{self.model}\n{outputs.table(self, 3)}"

    def _repr_html_(self) -> str:
        from har.predictor import markup

        return markup.of(self)


def predict(
    recogniser: "Recogniser",
    path: Path,
    settings: Settings,
    source: str,
    report: Report = float,  # which does nothing
) -> Prediction:
    """Recognise a video file, called `source`, which is never in memory as a whole.

    An `UnreadableVideoError` says why no frame decodes, a `UserError` that there is no such file.
    """
    if not path.exists():
        raise UserError(f"There is no video at {path}. Name a file.")
    length = video.length(path)
    kind = settings.kind or (CLIP if length <= _CLIP_SECONDS else TIMELINE)
    if kind == CLIP:
        frames, facts = recogniser.read(path)
        return _of_clip(recogniser, frames, facts.n_frames / (facts.fps or 25.0), source)
    seconds, sampling = settings.window or recogniser.seconds, recogniser.sampling
    stride = settings.stride or seconds / (4 if sampling.step else 8)
    spans, answers = [], []
    cut = windows(sampling.timed(path), seconds, stride, sampling.indices)
    with tqdm(total=round(length), desc=path.name, unit="s", disable=None, leave=False) as bar:
        while batch := list(islice(cut, recogniser.batch)):
            answers.append(recogniser.answers(np.stack([window.frames for window in batch])))
            spans += [(window.start, window.end) for window in batch]
            bar.update(max(round(spans[-1][1]) - bar.n, 0))
            report(min(spans[-1][1] / max(length, 1e-9), 1.0))
    if not spans:
        raise video.UnreadableVideoError("no frame decodes")
    return of_windows(recogniser, source, TIMELINE, spans, np.concatenate(answers))


def predict_frames(
    recogniser: "Recogniser", clip: np.ndarray | Sequence[np.ndarray], fps: float
) -> Prediction:
    """Recognise a clip by all its frames, uint8 (n, H, W, 3) RGB, `fps` a second."""
    frames = np.asarray(clip)
    if frames.ndim != 4 or not frames.size or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise ValueError(
            "Expected frames, uint8 (n, H, W, 3) RGB. "
            f"Received: {frames.dtype} {frames.shape}. Convert them."
        )
    sampling = recogniser.clip_sampling(len(frames))
    size = recogniser.shape[1:]
    taken = np.stack([video.shrink(frames[i], *size) for i in sampling.indices(len(frames))])
    parts = taken.reshape(-1, recogniser.shape[0], *taken.shape[1:])
    return _of_clip(recogniser, parts, len(frames) / fps, "frames")


def _of_clip(
    recogniser: "Recogniser", parts: np.ndarray, seconds: float, source: str
) -> Prediction:
    row = recogniser.answers(parts).mean(axis=0, keepdims=True)
    return of_windows(recogniser, source, CLIP, [(0.0, seconds)], row)


def of_windows(
    recogniser: "Recogniser",
    source: str,
    kind: str,
    spans: list[tuple[float, float]],
    answers: np.ndarray,
) -> Prediction:
    """Return a prediction from its windows, with answers (N, C + 1) as `Recogniser.answers`."""
    probabilities, familiar = answers[:, :-1], answers[:, -1]
    found = segments(spans, probabilities, familiar, recogniser.background)
    about = recogniser.names, recogniser.describe()
    return Prediction(source, kind, spans, probabilities, familiar, found, *about)


def as_json(prediction: Prediction, k: int) -> dict[str, Any]:
    """Return a prediction as JSON holds it, with the `k` likeliest classes of each window."""
    names = prediction.names

    def span(start: float, end: float) -> dict[str, float]:
        return {"start": round(start, 3), "end": round(end, 3)}

    answer = {
        "source": prediction.source,
        "kind": prediction.kind,
        "seconds": round(prediction.seconds, 3),
        "top": top(prediction.overall, names, k),
        "probabilities": dict(zip(names, prediction.overall.round(8).tolist(), strict=True)),
        "segments": [
            span(a.start, a.end) | {"class": a.name, "probability": round(a.probability, 8)}
            for a in prediction.actions
        ],
    }
    if prediction.kind == TIMELINE:
        rows = zip(prediction.spans, prediction.probabilities, strict=True)
        answer["windows"] = [span(*times) | {"top": top(row, names, k)} for times, row in rows]
    return answer


def likeliest(probabilities: np.ndarray, names: list[str], k: int) -> list[tuple[str, float]]:
    """Return the `k` likeliest classes of one row of probabilities, likeliest first."""
    order = np.argsort(-probabilities, kind="stable")[:k]
    return [(names[i], float(probabilities[i])) for i in order]


def top(probabilities: np.ndarray, names: list[str], k: int) -> list[dict[str, Any]]:
    """Return `likeliest` as JSON holds it."""
    best = likeliest(probabilities, names, k)
    return [{"class": name, "probability": round(p, 8)} for name, p in best]
