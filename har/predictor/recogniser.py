"""A saved model: which classes, what shape of clip, and the probabilities of clips."""

import functools
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from har.clips import store
from har.errors import UserError

# Keras loads with the model: who mistypes a file's name is not to wait for it.
if TYPE_CHECKING:
    from har.nn.backend import keras
    from har.predictor.streaming_model import FramePart

BATCH = 16
_SECONDS = 4.0


class Recogniser:
    """A trained network and its card.

    Attributes:
        name: of the approach.
        card: `card.json`.
        classes: names, in the order of the probabilities.
        shape: (T, H, W) of a clip.
        seconds: how long the clips were that it learnt from, and so how long a window is.
        seconds_known: whether the card or the project's clips tell `seconds`; else it is a guess.
        model: from uint8 (N, T, H, W, 3) RGB to probabilities (N, C).
    """

    def __init__(self, model: "keras.Model", card: dict[str, Any], name: str) -> None:
        self.model, self.card, self.name = model, card, name
        self._lock = threading.Lock()
        self.classes: list[str] = card["classes"]
        frames = card["frames"]
        self.shape: tuple[int, int, int] = (frames["count"], frames["height"], frames["width"])
        known = card.get("seconds") or _median_seconds(self.classes)
        self.seconds_known = known is not None
        self.seconds: float = known or _SECONDS

    @classmethod
    def open(cls, folder: Path) -> "Recogniser":
        """Load `folder`, which holds `model.keras` and `card.json`.

        Raises:
            UserError: it does not, or they do not fit each other or this version.
        """
        card_path = folder / "card.json"
        try:
            card = json.loads(card_path.read_text(encoding="utf-8"))
            shape = tuple(int(card["frames"][name]) for name in ("count", "height", "width"))
            classes = list(map(str, card["classes"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = "no such file" if isinstance(error, FileNotFoundError) else "another content"
            raise UserError(
                f"Expected a model's card at {card_path}. Received: {reason}. "
                "Name a folder that `dvc repro` trained: --model models/lrcn, say."
            ) from None
        from har.nn import model_files

        try:
            model = model_files.load_model(folder / "model.keras")
        except (AttributeError, ImportError, LookupError, RuntimeError) as error:
            # What Keras raises for a model of another version is not settled.
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"Expected a Keras model at {folder / 'model.keras'}. Received: {reason}. "
                "It may be of another version: train it again with `dvc repro`."
            ) from None
        expected = ((None, *shape, 3), (None, len(classes)))
        received = (_shape(model.inputs), _shape(model.outputs))
        if received != expected:
            raise UserError(
                f"Expected a model from {expected[0]} to {expected[1]}, as {card_path} says. "
                f"Received: from {received[0]} to {received[1]}. Train it again with `dvc repro`."
            )
        return cls(model, card, str(card.get("approach", folder.name)))

    def probabilities(self, clips: np.ndarray) -> np.ndarray:
        """Return class probabilities of clips, as `evaluate` computes them.

        Args:
            clips: uint8 (N, T, H, W, 3) RGB, N ≥ 1.

        Returns:
            float64 (N, C), rows sum to 1.
        """
        with self._lock:  # Keras makes its function of the model at the first call
            rows = [
                np.asarray(self.model.predict_on_batch(clips[start : start + BATCH]))
                for start in range(0, len(clips), BATCH)
            ]
        probabilities = np.concatenate(rows).astype(np.float64)
        return probabilities / probabilities.sum(axis=1, keepdims=True)

    @property
    def frame_part(self) -> "FramePart | None":
        """The network in two, or `None`, and then `whole_windows` says why."""
        return self._split[0]

    @property
    def whole_windows(self) -> str | None:
        """Why the network has no frame part."""
        return self._split[1]

    @functools.cached_property
    def _split(self) -> "tuple[FramePart | None, str | None]":
        from har.predictor.streaming_model import FramePart, NoFramePartError

        try:
            return FramePart(self.model), None
        except NoFramePartError as reason:
            return None, str(reason)

    def top(self, probabilities: np.ndarray, k: int) -> list[tuple[str, float]]:
        """Return the `k` likeliest classes of one row of probabilities, likeliest first."""
        order = np.argsort(-probabilities, kind="stable")[:k]
        return [(self.classes[i], float(probabilities[i])) for i in order]


def best_model(metrics: Path, models: Path) -> Path:
    """Return the folder of the model with the highest test accuracy; the lower loss breaks ties.

    Args:
        metrics: `metrics.json`.
        models: folder of the models' folders.

    Raises:
        UserError: there are no figures, or no such model.
    """
    try:
        figures = json.loads(metrics.read_text(encoding="utf-8"))
        ranked = sorted(figures, key=lambda a: (-figures[a]["accuracy"], figures[a]["loss"]))
        best = models / ranked[0]
    except (OSError, ValueError, LookupError, TypeError):
        found = "another content" if metrics.exists() else "no such file"
        raise UserError(
            f"Expected test figures at {metrics} to tell the best model. Received: {found}. "
            "Run `dvc repro` first, or name a model: --model models/lrcn."
        ) from None
    if not best.is_dir():
        raise UserError(
            f"Expected the best model by {metrics} at {best}. Received: no such folder. "
            "Run `dvc pull` or `dvc repro`, or name a model with --model."
        )
    return best


def _shape(tensors: list[Any]) -> tuple[int | None, ...] | None:
    return tuple(tensors[0].shape) if len(tensors) == 1 else None


def _median_seconds(classes: list[str]) -> float | None:
    """Return the median length of the project's clips, if they are of these classes."""
    path = Path("data/clips.csv")
    if not path.exists():
        return None
    clips = store.read_clips(path)
    lengths = [clip.n_frames / clip.fps for clip in clips if clip.fps > 0]
    if {clip.label for clip in clips} != set(classes) or not lengths:
        return None
    return round(float(np.median(lengths)), 1)
