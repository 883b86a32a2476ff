"""Weights that a network learned on rendered people: all but those of its last layer."""

import json
from pathlib import Path

import keras
import numpy as np

from har.errors import UserError
from har.nn.model_files import read_arrays
from har.params import ApproachParams


def file_of(approach: str, settings: ApproachParams) -> Path | None:
    """Return the file of weights that a training starts from; None: random ones."""
    return Path("weights", f"{approach}.npz") if getattr(settings, "weights", None) else None


def save(path: Path, model: keras.Model, settings: ApproachParams) -> None:
    """Write weights as float16, which halves the file, and the settings that they belong to."""
    arrays = [variable.numpy().astype(np.float16) for variable in _variables(model)]
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")
    np.savez_compressed(part, *arrays, settings=json.dumps(_facts(settings)))
    part.replace(path)


def read(path: Path, approach: str, settings: ApproachParams) -> list[np.ndarray]:
    """Read weights; a `UserError` says that they are missing, damaged or of other settings."""
    try:
        stored = read_arrays(path)
        made = json.loads(str(stored.pop("settings")))
        arrays = [stored[f"arr_{i}"].astype(np.float32) for i in range(len(stored))]
    except (OSError, ValueError, KeyError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"Expected the weights that {approach} starts from in {path}. Received: {reason}. Run "
            f"`git checkout weights`, or set {approach}.weights to null."
        ) from None
    for key, value in _facts(settings).items():
        if made.get(key) != value:
            raise UserError(
                f"{approach}.{key}: expected {made.get(key)}, as the weights in {path} have. "
                f"Received: {value}. Change it back, or set {approach}.weights to null."
            )
    return arrays


def start(model: keras.Model, arrays: list[np.ndarray]) -> None:
    """Give a new network weights that `read` returned, for clips of any length and size."""
    for variable, array in zip(_variables(model), arrays, strict=True):
        variable.assign(array)


def _variables(model: keras.Model) -> list[keras.Variable]:
    return [v for layer in model.layers if layer.name != "classes" for v in layer.weights]


def _facts(settings: ApproachParams) -> dict:
    # What changes the weights, or what they mean.
    return settings.model_dump(include={"see", "shift", "width", "units"})
