"""The HDF5 file of features that a frozen network computed of clips.

`features.h5` holds `features`, float16 (N, V, T, D), one chunk a clip: V views of a clip, as it is
and perhaps mirrored; T time steps; D numbers each. `clip`, `sha256` and `label` are in the same
order; `classes` and the `facts` of the network are attributes.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from har.clips.store import Clip, FrameStore


def write_features(
    path: Path, clips: Sequence[Clip], features: Iterable[np.ndarray], facts: dict[str, Any]
) -> None:
    """Write a feature store: what `FeatureStore` reads.

    Args:
        path: the HDF5 file.
        clips: in the order of the rows.
        features: float16 (V, T, D) of each clip.
        facts: name, params and weights of the backbone.
    """
    classes = sorted({clip.label for clip in clips})
    labels = np.array([classes.index(clip.label) for clip in clips], np.int64)
    text = h5py.string_dtype("utf-8")
    with h5py.File(path, "w") as file:
        file.create_dataset("clip", data=[clip.clip for clip in clips], dtype=text)
        file.create_dataset("sha256", data=[clip.sha256 for clip in clips], dtype=text)
        file.create_dataset("label", data=labels)
        file.attrs["classes"] = json.dumps(classes)
        file.attrs["facts"] = json.dumps(facts)
        rows = None
        for i, row in enumerate(features):
            if rows is None:
                rows = file.create_dataset(
                    "features", (len(clips), *row.shape), np.float16, chunks=(1, *row.shape)
                )
            rows[i] = row


def write_no_features(path: Path) -> None:
    """Write the store of an approach that reads frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs["reads"] = "frames"


class FeatureStore(FrameStore):
    """An open file of features, to read from: like `FrameStore`, but with `features`.

    `read` returns float16 (len(clips), V, T, D); `shape` and `row_shape` are (V, T, D).

    Attributes:
        facts: of the backbone: its name, its section of params.yaml, its weights.
        sha256: of the clips, one a row.
    """

    _dataset = "features"
    _stage = "make compare"

    def __init__(self, path: Path) -> None:
        """Open `path`; raises as `FrameStore` does."""
        super().__init__(path)
        self.facts: dict[str, Any] = json.loads(self._file.attrs["facts"])
        self.sha256: list[str] = [name.decode() for name in self._file["sha256"][:]]

    def row(self, number: int) -> np.ndarray:
        """Read the features of one row, float16 (V, T, D)."""
        return self._frames[number]

    @property
    def input(self) -> dict[str, Any]:
        """How the frames of a clip are picked, as `FrameStore.input`."""
        names = ("count", "height", "width", "step", "windows")
        proportional = self.facts["backbone"] == "movenet"
        return {name: self.facts[name] for name in names} | {"proportional": proportional}
