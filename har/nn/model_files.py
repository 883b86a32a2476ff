"""Model files: the same model gives the same bytes, and loading runs no code from the file."""

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import keras
import numpy as np

from har import files
from har.errors import UserError

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold


def save_model(model: keras.Model, path: Path) -> None:
    """Write `model` as a `.keras` file without optimizer state, whole or not at all.

    The same weights give the same bytes: times and memory addresses that Keras writes are fixed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name for each path, so that parallel trainings do not collide.
    stamped = files.folder("saving") / f"{files.digest(str(path.absolute()))}.keras"
    # A copy that was never compiled: Keras ignores `include_optimizer` in this format, and the
    # optimizer's state would make the file four times as large.
    plain = type(model).from_config(model.get_config())
    plain.set_weights(model.get_weights())
    plain.save(stamped)
    part = stamped.with_suffix(".part")
    with zipfile.ZipFile(stamped) as source, zipfile.ZipFile(part, "w") as target:
        for name in sorted(source.namelist()):
            data = source.read(name)
            if name == "config.json":
                data = json.dumps(_renumber(json.loads(data), {})).encode()
            if name == "metadata.json":
                metadata = json.loads(data)
                metadata["date_saved"] = "1980-01-01@00:00:00"
                data = json.dumps(metadata).encode()
            target.writestr(zipfile.ZipInfo(name, _EPOCH), data)
    stamped.unlink()
    part.replace(path)


def _renumber(config: Any, numbers: dict[int, int]) -> Any:
    # A shared_object_id is a memory address; its rank of first appearance replaces it.
    if isinstance(config, list):
        return [_renumber(item, numbers) for item in config]
    if not isinstance(config, dict):
        return config
    return {
        key: numbers.setdefault(value, len(numbers))
        if key == "shared_object_id"
        else _renumber(value, numbers)
        for key, value in config.items()
    }


def load_model(path: Path | str) -> keras.Model:
    """Load a `.keras` file in Keras's safe mode, with the layers of `har`.

    Raises:
        UserError: the file is not there or is not a model that this version can load.
    """
    import har.nn.layers  # noqa: F401 (registers our layers with Keras)

    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(
            f"Expected a Keras model at {path}. Received: {str(error).splitlines()[0]}. "
            "Run `dvc repro` to train it, or name another model."
        ) from None


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of an .npz file, without pickles; a `ValueError` says how it is damaged."""
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(str(error)) from None
