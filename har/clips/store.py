"""The HDF5 file of frames and the table of clips, which does not depend on the frames params.

`frames.h5` holds `frames`, uint8 (N, T, H, W, 3) RGB, uncompressed, one chunk and so one read a
clip; `clip` and `label` in the same order; `classes` and the frames params as attributes.
"""

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from har import files
from har.errors import UserError

BACKGROUND = "_background"  # the class of clips of none of the actions


@dataclass(frozen=True, order=True)
class Clip:
    """A row of clips.csv: a clip that decodes."""

    clip: str  # path below the folder of videos, POSIX
    label: str  # name of its class, which is that of its folder; column `class`
    group: str  # the source video it was cut from, as `g07`; its own path where nothing tells
    sha256: str
    n_frames: int  # that decode
    fps: float  # 0.0 where unknown
    width: int
    height: int


def counts_in_class(group: str) -> bool:
    """Return whether a group is a number of its class, as UCF's g07; others are of all classes."""
    return re.fullmatch(r"g\d+", group) is not None


def source_of(label: str, group: str) -> str:
    """Return a name of the source video that is unique over all classes."""
    return f"{label}/{group}" if counts_in_class(group) else group


CLIP_COLUMNS = tuple("class" if f.name == "label" else f.name for f in fields(Clip))


def write_clips(path: Path, clips: Iterable[Clip]) -> None:
    """Write clips.csv, sorted by clip."""
    files.write_csv(path, CLIP_COLUMNS, [astuple(clip) for clip in sorted(clips)])


def read_clips(path: Path) -> list[Clip]:
    """Read clips.csv, in its order."""
    types = dict(zip(CLIP_COLUMNS, (str, str, str, str, int, float, int, int), strict=True))
    return [Clip(*(row[name] for name in types)) for row in files.read_csv(path, types)]


def create(
    path: Path, clips: Sequence[str], labels: Sequence[str], shape: tuple[int, int, int]
) -> list[int]:
    """Create a frame store of (T, H, W) = `shape`, and return each clip's offset in the file.

    All space is allocated at once, so every clip's T·H·W·3 bytes have a fixed place: processes
    write side by side without a lock, and the same clips give the same bytes.
    """
    classes = sorted(set(labels))
    index = {name: i for i, name in enumerate(classes)}
    T, H, W = shape
    text = h5py.string_dtype("utf-8")
    with h5py.File(path, "w") as file:
        file.create_dataset("clip", data=list(clips), dtype=text)
        file.create_dataset("label", data=np.array([index[name] for name in labels], np.int64))
        file.attrs["classes"] = json.dumps(classes)
        file.attrs.update({"count": T, "height": H, "width": W})
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_chunk((1, T, H, W, 3))
        layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        layout.set_obj_track_times(False)  # the same bytes at any time of day
        layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        space = h5py.h5s.create_simple((len(clips), T, H, W, 3))
        frames = h5py.h5d.create(file.id, b"frames", h5py.h5t.STD_U8LE, space, layout)
        return [
            frames.get_chunk_info_by_coord((i, 0, 0, 0, 0)).byte_offset for i in range(len(clips))
        ]


class FrameStore:
    """An open frames.h5, to read from; `FeatureStore` has the same interface."""

    _dataset = "frames"
    _stage = "dvc repro extract"

    def __init__(self, path: Path) -> None:
        """Open `path`; raise a `UserError` where it is no such store."""
        self.path = path
        try:
            # Read-only stores need no lock, which some network file systems lack.
            self._file = h5py.File(path, locking=False)
            self.clips: list[str] = [name.decode() for name in self._file["clip"][:]]
            self.labels: np.ndarray = self._file["label"][:]  # int64 (N,)
            self.classes: list[str] = json.loads(self._file.attrs["classes"])
            self._frames = self._file[self._dataset]
        except (OSError, KeyError) as error:
            raise UserError(
                f"Expected a file of {self._dataset} at {path}. Received: {error}. "
                f"Run `{self._stage}` to make it."
            ) from None
        self.shape: tuple[int, int, int] = tuple(self._frames.shape[1:4])  # T, H, W
        self.row_shape: tuple[int, ...] = tuple(self._frames.shape[1:])  # of what `read` returns
        self.row_bytes = math.prod(self.row_shape) * self._frames.dtype.itemsize
        self._row = {clip: row for row, clip in enumerate(self.clips)}

    @property
    def input(self) -> dict[str, Any]:
        """How the frames of a clip are picked: the card tells it to a recogniser."""
        T, H, W = self.shape
        return {"count": T, "height": H, "width": W, "step": None, "windows": 1}

    def read(self, clips: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return frames, uint8 (n, T, H, W, 3) RGB, and labels, int64 (n,), of n clips."""
        frames = np.empty((len(clips), *self._frames.shape[1:]), self._frames.dtype)
        for target, row in enumerate(self._rows(clips)):
            self._frames.read_direct(frames, np.s_[row], np.s_[target])
        return frames, self.labels_of(clips)

    def labels_of(self, clips: Sequence[str]) -> np.ndarray:
        """Return the labels of `clips`, int64 (len(clips),)."""
        return self.labels[self._rows(clips)]

    def _rows(self, clips: Sequence[str]) -> list[int]:
        try:
            return [self._row[clip] for clip in clips]
        except KeyError as error:
            raise UserError(f"{self.path} has no clip {error}. Run `{self._stage}`.") from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> "FrameStore":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
