"""The HDF5 file of features that a frozen network computed of clips.

It holds `features`, float32 (N, V, T, D), one chunk a clip: views, time steps, numbers. `clip`,
`sha256` and `label` are in the same order; `classes` and `facts` are attributes.
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
    """Write a feature store at `path`: float32 (V, T, D) of each clip, and the backbone's facts."""
    classes = sorted({clip.label for clip in clips})
    labels = np.array([classes.index(clip.label) for clip in clips], np.int64)
    text = h5py.string_dtype("utf-8")
    with h5py.File(path, "w") as file:
        for name in ("clip", "sha256"):
            file.create_dataset(name, data=[getattr(clip, name) for clip in clips], dtype=text)
        file.create_dataset("label", data=labels)
        file.attrs["classes"] = json.dumps(classes)
        file.attrs["facts"] = json.dumps(facts)
        for i, row in enumerate(features):
            shape = (len(clips), *row.shape)
            file.require_dataset("features", shape, np.float32, chunks=(1, *row.shape))[i] = row


def write_no_features(path: Path) -> None:
    """Write the store of an approach that reads frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs["reads"] = "frames"


class FeatureStore(FrameStore):
    """An open file of features, as `FrameStore`; rows are float32 (V, T, D).

    `facts` are the backbone's name, section of params.yaml and weights; `sha256` is of each clip.
    """

    _dataset = "features"
    _stage = "make compare"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.facts: dict[str, Any] = json.loads(self._file.attrs["facts"])
        self.sha256: list[str] = [name.decode() for name in self._file["sha256"][:]]

    def row(self, number: int) -> np.ndarray:
        """Read the features of one row, float32 (V, T, D)."""
        return self._frames[number]

    @property
    def input(self) -> dict[str, Any]:
        """How the frames of a clip are picked, as `FrameStore.input`."""
        names = ("count", "height", "width", "step", "windows")
        return {name: self.facts[name] for name in names}
