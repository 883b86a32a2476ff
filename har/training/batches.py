"""Batches of clips, uint8 until they are on the device.

Frames are in the memory of the accelerator if they fit there, and a step sends indices only; else
in the host's memory, or in the HDF5 file, read a few batches ahead. The batches are the same.
`HAR_FEED` overrides the choice: `device`, `memory` or `file`.
"""

import contextlib
import math
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import psutil

from har.clips.store import FrameStore
from har.errors import UserError
from har.training import device_rows

PLACES = ("device", "memory", "file")
ROOM = 0.5  # share of the free memory; the network and other processes need some too
AHEAD = 2  # batches that are read before they are needed
GROUP = Path("/sys/fs/cgroup")  # control groups, version 2, as a container sees its own


class StoredFrames:
    """Clips of a store, (N, T, H, W, 3) or features; `frames[rows]` reads them from the file."""

    def __init__(self, store: FrameStore, clips: Sequence[str]) -> None:
        self._store, self._clips = store, clips
        self.shape = (len(clips), *store.row_shape)

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self._store.read([self._clips[row] for row in rows])[0]


def load(store: FrameStore, clips: Sequence[str]) -> tuple[np.ndarray | StoredFrames, np.ndarray]:
    """Return the frames of `clips`, uint8 (N, T, H, W, 3) RGB, and their labels, int64 (N,).

    Frames that do not fit into memory need the store to stay open.
    """
    n_bytes = len(clips) * store.row_bytes
    if _chosen() == "file" or (not _chosen() and n_bytes > ROOM * available_memory()):
        return StoredFrames(store, clips), store.labels_of(clips)
    return store.read(clips)


def available_memory() -> int:
    """Return the free bytes of the machine, or of the container if it has a limit."""
    free = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):
        limit = int((GROUP / "memory.max").read_text())  # or the text "max"
        free = min(free, limit - int((GROUP / "memory.current").read_text()))
    return max(free, 0)


def _chosen() -> str | None:
    place = os.environ.get("HAR_FEED") or None
    if place not in (None, *PLACES):
        raise UserError(
            f"Expected HAR_FEED to be {', '.join(PLACES)} or not set. Received: {place}. "
            "Unset it to let free memory decide."
        )
    return place


class Batches(keras.utils.PyDataset):
    """Clips in batches; `place`, one of `PLACES`, says where the frames are.

    In training the last batch of an epoch is filled up with clips of the first one, so that a step
    is compiled for one size.

    The order of an epoch depends on seed and epoch alone; without a seed it stays, and the last
    batch may be smaller. `weights` (N,) of clips in the loss are a part of each batch, because
    Keras's `class_weight` would fetch the labels of every batch back from the device.
    """

    def __init__(
        self,
        frames: np.ndarray | StoredFrames,
        labels: np.ndarray,
        batch: int,
        seed: int | None = None,
        weights: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        self.place = _place(frames)
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="har-feed")
        self._frames = frames
        self._facts = (labels,) if weights is None else (labels, weights)
        if self.place == "device":
            arrays = frames, *self._facts
            self._there = tuple(keras.ops.convert_to_tensor(array) for array in arrays)
        self._batch, self._seed = batch, seed
        self.epoch = -1
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Put the clips in the order of `epoch`, any number from 0."""
        self._coming: dict[int, Future] = {}
        if epoch == self.epoch:
            return
        self.epoch = epoch
        self._order = np.arange(len(self._facts[0]))
        if self._seed is not None:
            np.random.default_rng([self._seed, epoch]).shuffle(self._order)
        if self._seed is not None and len(self._order) > self._batch:
            # Repeats the first clips at the end.
            self._order = np.resize(self._order, len(self) * self._batch)
        if self.place == "device":
            self._order_there = keras.ops.convert_to_tensor(self._order.astype(np.int32))

    def on_epoch_end(self) -> None:
        """Go to the next epoch; Keras calls this where `fit` is given this object."""
        self.start_epoch(self.epoch + 1)

    def __len__(self) -> int:
        return math.ceil(len(self._facts[0]) / self._batch)

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        """Return a batch: frames, labels and any weights; tensors where `place` is `device`."""
        rows = self._rows(index)
        if self.place == "device":
            start, order = index * self._batch, self._order_there
            return device_rows.take(self._there, order, start, len(rows))
        for ahead in range(index, min(index + AHEAD + 1, len(self))):
            if ahead not in self._coming:
                wanted = self._rows(ahead)
                self._coming[ahead] = self._reader.submit(self._frames.__getitem__, wanted)
        return self._coming.pop(index).result(), *(fact[rows] for fact in self._facts)

    def for_keras(self):
        """Return what `fit` and `predict` take: this object, or on TensorFlow a tf.data of it.

        On TensorFlow Keras wraps a `PyDataset` in threads that add 0.1 s an epoch, or in a tf.data
        that tunes itself and wakes ever more rarely. tf.data has no epoch hook; call `start_epoch`.
        """
        if keras.backend.backend() != "tensorflow":
            return self
        import tensorflow as tf

        arrays = self._frames[np.arange(1)], *(fact[:1] for fact in self._facts)
        signature = tuple(tf.TensorSpec((None, *a.shape[1:]), a.dtype) for a in arrays)
        data = tf.data.Dataset.from_generator(
            lambda: map(self.__getitem__, range(len(self))), output_signature=signature
        )
        options = tf.data.Options()
        options.autotune.enabled = False
        options.threading.private_threadpool_size = 1
        counted = tf.data.experimental.assert_cardinality(len(self))
        return data.with_options(options).apply(counted)

    def _rows(self, index: int) -> np.ndarray:
        return self._order[index * self._batch : (index + 1) * self._batch]


def _place(frames: np.ndarray | StoredFrames) -> str:
    if isinstance(frames, StoredFrames):
        return "file"
    chosen, backend = _chosen(), keras.backend.backend()
    if chosen == "device" and backend != "jax":
        raise UserError(
            "Expected HAR_FEED=device with KERAS_BACKEND=jax. "
            f"Received: {backend}. Set HAR_FEED=memory."
        )
    if chosen == "memory" or backend != "jax":
        return "memory"
    fits = chosen == "device" or frames.nbytes <= ROOM * device_rows.free_accelerator_memory()
    return "device" if fits else "memory"


def predict(
    network: keras.Model, frames: np.ndarray | StoredFrames, batch: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return what a network of `familiarity.seeing` makes of clips.

    These are class probabilities, float64 (N, C) with rows that sum to 1, and x, float32 (N, D).
    """
    clips = Batches(frames, np.zeros(len(frames), np.int64), batch)
    probabilities, x = network.predict(clips.for_keras(), verbose=0)
    probabilities = probabilities.astype(np.float64)
    return probabilities / probabilities.sum(axis=1, keepdims=True), x
