"""Pickles of NumPy arrays, read without running code.

A pickle may name only what an array is made of (in protocols 3 and 4), and hold only such arrays.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from har.errors import UserError

_ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # NumPy 1
    ("numpy._core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}") from None


def read(path: Path) -> dict[str, np.ndarray]:
    """Read a pickle of nested dicts of numeric arrays, by their keys joined with `/`.

    Raises:
        UserError: the file names something else, or is no such pickle. None of its code runs.
    """
    try:
        with path.open("rb") as file:
            return dict(_flatten(_ArrayUnpickler(file).load(), ()))
    except FileNotFoundError:
        raise UserError(f"There is no file of weights at {path}. Name another file.") from None
    except Exception as error:  # a broken pickle can raise nearly anything
        raise UserError(
            f"Expected a pickle of nothing but NumPy arrays at {path}. Received: other content: "
            f"{error}. Download the file again from its publisher."
        ) from None


def _flatten(tree: Any, keys: tuple[str, ...]):
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _flatten(value, (*keys, str(key)))
    elif isinstance(tree, np.ndarray) and tree.dtype.kind in "fiub":
        yield "/".join(keys), tree
    else:
        raise pickle.UnpicklingError(f"{'/'.join(keys) or 'it'} is no array of numbers")
