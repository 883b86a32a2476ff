"""A saved model: its classes, the frames that it takes, and the probabilities of clips."""

import dataclasses
import functools
import json
import math
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from har.clips import video
from har.clips.sampling import Sampling
from har.clips.store import BACKGROUND
from har.errors import UserError
from har.predictor import prediction
from har.predictor.figures import KINETICS, MODELS
from har.predictor.live import Stream
from har.predictor.prediction import Prediction
from har.predictor.timeline import UNKNOWN

# Keras takes seconds to load: it loads with the model, after what can be wrong without it.
if TYPE_CHECKING:
    import keras

    from har.clips.store import Clip
    from har.clips.video import VideoFacts

HALF = 0.5
_SECONDS = 4.0
_BATCH, _BATCH_BYTES = 16, 1 << 25  # clips, and bytes of their frames, at a time


class Recogniser:
    """A trained network and its card, `card.json`.

    Attributes:
        classes: in the order of the probabilities; `names` are those of answers: `_background`
            is `unknown`. `background` is its index, or `None`.
        sampling: the frames that it takes of a clip; `shape`, (T, H, W), is theirs.
        windows: most windows of a clip whose probabilities are averaged.
        seconds: median length of the clips that it learnt from: the default window.
        model: from uint8 (N, T, H, W, 3) RGB to probabilities (N, C).
        network: the same, or to (N, C + 1) where `har.nn.familiarity` is attached.
    """

    def __init__(
        self, model: "keras.Model", card: dict[str, Any], network: "keras.Model | None" = None
    ) -> None:
        self.model, self.card, self.network = model, card, network or model
        self.name = str(card["approach"])
        self._lock = threading.Lock()
        self.classes: list[str] = list(card["classes"])
        self.background = self.classes.index(BACKGROUND) if BACKGROUND in self.classes else None
        own = {BACKGROUND: UNKNOWN, UNKNOWN: f"{UNKNOWN} (class)"}
        self.names = [own.get(c, c) for c in self.classes]
        self.sampling = _sampling(card)
        count = self.sampling.windows * self.sampling.count
        self.shape = (count, self.sampling.height, self.sampling.width)
        self.batch = max(min(_BATCH, _BATCH_BYTES // math.prod((*self.shape, 3))), 1)
        self.seconds = float(card.get("seconds") or _SECONDS)
        self.windows = int(card.get("windows") or 1)

    @classmethod
    def open(cls, folder: Path | str, precision: str = "auto") -> "Recogniser":
        """Load `model.keras` and `card.json` of a folder; `lrcn` is `models/lrcn`.

        `kinetics` is the pretrained network that knows 400 actions. With the precision `auto` I3D
        computes in bfloat16 where the processor has AMX, with `float32` never.

        Raises:
            UserError: there is no such model, or its parts do not fit each other or this version.
        """
        path = Path(folder)
        if str(folder) == KINETICS and not path.is_dir():
            from har.backbones import kinetics

            model, card = kinetics.open_model()
            if precision == "auto":
                _quicken(model)
            return cls(model, {"approach": KINETICS, **card})
        if len(path.parts) == 1 and not (path / "card.json").is_file():
            path = MODELS / path if (MODELS / path).is_dir() else path
        card = {"approach": path.name, **_read_card(path)}
        from har.nn import model_files

        try:
            model = model_files.load_model(path / "model.keras")
        except (AttributeError, ImportError, LookupError, RuntimeError) as error:
            # Keras does not document what it raises for a model of another version.
            raise UserError(
                f"Expected a Keras model at {path / 'model.keras'}. Received: {_reason(error)}. "
                "It may be of another version: train it again with `dvc repro`."
            ) from None
        if card.get("joined") and precision == "auto":
            _quicken(model)
        found = cls(model, card, _network(path, card, model))
        received = [tuple(tensor.shape) for tensor in (*model.inputs, *model.outputs)]
        expected = [(None, *found.shape, 3), (None, len(found.classes))]
        if received != expected:
            raise UserError(
                f"Expected a model with the shapes {expected}, as {path / 'card.json'} says. "
                f"Received: {received}. Train it again."
            )
        return found

    def predict(
        self, clip: Path | str | np.ndarray | Sequence[np.ndarray], fps: float = 25.0
    ) -> Prediction:
        """Recognise a clip as a whole, as `evaluate` does.

        It is a video file, or frames, uint8 (n, H, W, 3) RGB, `fps` a second.

        Raises:
            UserError: there is no such file.
            UnreadableVideoError: no frame of the file decodes.
        """
        if not isinstance(clip, Path | str):
            return prediction.predict_frames(self, clip, fps)
        settings = prediction.Settings(prediction.CLIP)
        return prediction.predict(self, Path(clip), settings, str(clip))

    def timeline(
        self, path: Path | str, window: float | None = None, stride: float | None = None
    ) -> Prediction:
        """Recognise what happens when in a video file; raises as `predict` does.

        An answer looks at `window` seconds, by default `seconds`; the next comes `stride` seconds
        later, by default an eighth of the window, or a quarter where frames are neighbours.
        """
        settings = prediction.Settings(prediction.TIMELINE, window=window, stride=stride)
        return prediction.predict(self, Path(path), settings, str(path))

    def stream(self, seconds: float | None = None) -> Stream:
        """Return what answers on the last `seconds` while frames come in."""
        return Stream(self, seconds)

    def probabilities(self, clips: np.ndarray) -> np.ndarray:
        """Return class probabilities, float64 (N, C), rows sum to 1; `clips` as in `answers`."""
        return self.answers(clips)[:, :-1]

    def answers(self, clips: np.ndarray) -> np.ndarray:
        """Return class probabilities and how familiar each clip is, float64 (N, C + 1).

        `clips`, uint8 (N, T, H, W, 3) RGB, N ≥ 1, are picked as `sampling` says. Below 0 a clip is
        of no known class. A model without `familiarity.npz` knows what it gives half or more.
        """
        rows = []
        with self._lock:  # Keras makes its function of the model at the first call
            for start in range(0, len(clips), self.batch):
                batch = clips[start : start + self.batch]
                rows.append(np.asarray(self.network.predict_on_batch(batch)))
        found, C = np.concatenate(rows).astype(np.float64), len(self.classes)
        found[:, :C] /= found[:, :C].sum(axis=1, keepdims=True)
        if found.shape[1] == C:
            found = np.hstack([found, found.max(axis=1, keepdims=True) - HALF])
        return found

    def clip_sampling(self, n_frames: int) -> Sampling:
        """Return which frames to take of a clip: of a longer one, several windows."""
        if self.windows == 1:
            return self.sampling
        n = math.ceil(n_frames / (self.sampling.count * (self.sampling.step or 1)))
        return dataclasses.replace(self.sampling, windows=min(n, self.windows))

    def read(self, path: Path) -> "tuple[np.ndarray, VideoFacts | Clip]":
        """Read a clip: its windows, uint8 (N, T, H, W, 3) RGB with N ≤ `windows`, and its facts."""
        sampling, known = self.sampling, None
        if self.windows > 1:
            known = video.read_clip(path, 1, 8, 8)[1]
            sampling = self.clip_sampling(known.n_frames)
        frames, facts = sampling.read(path, known)
        return frames.reshape(-1, self.shape[0], *frames.shape[1:]), facts

    @functools.cached_property
    def milliseconds(self) -> float:
        """The time of one window."""
        blank = np.zeros((1, *self.shape, 3), np.uint8)
        self.probabilities(blank)  # the first call compiles
        begun = time.perf_counter()
        self.probabilities(blank)
        return (time.perf_counter() - begun) * 1000

    @property
    def dataset(self) -> dict[str, Any]:
        """Of the card: `name`, `clips`, `groups`, `grouped`."""
        return self.card.get("dataset") or {}

    def describe(self) -> str:
        """Return one line that tells the model, its data set, and the clips behind it."""
        facts, data = self.dataset, self.dataset.get("name")
        known = f"{len(self.classes) - (self.background is not None)} actions"
        if data is None:
            return f"{self.name}: {known}; its card names no data set"
        source = "rendered drawings" if data == "sample" else f"the data set {data}"
        line = f"{self.name}, learnt from {source}: {known}"
        if clips := facts.get("clips"):
            line += f", {clips:,} clips"
            if facts.get("grouped") is False:
                line += ", each clip counted as its own source"
            elif groups := facts.get("groups"):
                line += f" of {groups:,} source videos"
        if self.card.get("fold", 0) is None:  # trained on all clips, by `har teach`
            line += ", tested over all folds"
        return line


def _quicken(model: "keras.Model") -> None:
    from har.backbones import i3d
    from har.nn import backend

    if backend.multiplies_bfloat16():
        i3d.quicken(model)


def _network(folder: Path, card: dict[str, Any], model: "keras.Model") -> "keras.Model":
    from har.nn import familiarity

    path = folder / familiarity.FILE
    if not path.exists():
        return model
    try:
        known = familiarity.load(path)
        if len(known.counts) != len(card["classes"]):
            raise ValueError(f"{len(known.counts)} classes")
        return familiarity.attach(model, known, float(card["unknown_below"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"Expected what the model knows of its classes in {path}. Received: {_reason(error)}. "
            "Train the model again."
        ) from None


def _read_card(folder: Path) -> dict[str, Any]:
    path = folder / "card.json"
    try:
        card = json.loads(path.read_bytes())
        _sampling(card)
        classes, data = card["classes"], card.get("dataset") or {}
        named = isinstance(classes, list) and all(isinstance(c, str) for c in classes)
        if not named or not isinstance(data, dict) or not 0 < (card.get("seconds") or 1) < 1e6:
            raise ValueError("other classes, dataset or seconds")
        return card
    except (FileNotFoundError, NotADirectoryError):
        there = sorted(card.parent.name for card in MODELS.glob("*/card.json"))
        raise UserError(
            f"There is no model at {folder}: it has no card.json. "
            f"Models here: {', '.join([*there, KINETICS])}."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"Expected a model's card with classes and input at {path}. Received: "
            f"{_reason(error)}. It is damaged or of another version: train the model again."
        ) from None


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _sampling(card: dict[str, Any]) -> Sampling:
    # Cards had `frames` before they had `input`, and there `proportional`, which was False.
    facts = card["input"] if "input" in card else card["frames"]
    return Sampling(**{key: value for key, value in facts.items() if key != "proportional"})
