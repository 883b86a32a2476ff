"""Weights that a network learned on rendered people: all but those of its last layer."""

import json
from pathlib import Path

import keras
import numpy as np

from har.errors import UserError
from har.nn.model_files import read_arrays
from har.params import ApproachParams

FOLDER = Path("weights")


def file_of(approach: str, settings: ApproachParams) -> Path | None:
    """Return the file of weights that a training starts from; None: random ones."""
    return FOLDER / f"{approach}.npz" if getattr(settings, "weights", None) else None


def save(path: Path, model: keras.Model, settings: ApproachParams) -> None:
    """Write weights as float16, which halves the file, and the settings that they belong to."""
    arrays = [variable.numpy().astype(np.float16) for variable in _variables(model)]
    np.savez_compressed(path, *arrays, settings=json.dumps(_facts(settings)))


def start(model: keras.Model, path: Path, settings: ApproachParams) -> None:
    """Give a new network the weights of a file, for clips of any length and size."""
    try:
        stored = read_arrays(path)
        made = json.loads(str(stored.pop("settings")))
        arrays = [stored[f"arr_{i}"].astype(np.float32) for i in range(len(stored))]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} cannot be read: {error}. Restore it from Git.") from None
    if made != _facts(settings):
        raise UserError(
            f"Expected the settings of {path}: {made}. Received: {_facts(settings)}. Set "
            f"{model.name}.weights to null, or run `python stages/pretrain.py {model.name}`."
        )
    for variable, array in zip(_variables(model), arrays, strict=True):
        variable.assign(array)


def _variables(model: keras.Model) -> list[keras.Variable]:
    return [v for layer in model.layers if layer.name != "classes" for v in layer.weights]


def _facts(settings: ApproachParams) -> dict:
    # What changes the weights, or what they mean.
    return settings.model_dump(include={"see", "shift", "width", "units"})
