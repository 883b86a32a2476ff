"""How long one clip takes, measured once per machine, device and network, then remembered."""

import platform
import time

import numpy as np

from har import files
from har.comparison import measured
from har.nn.backend import keras


def measured_once(model: keras.Model, shape: tuple[int, int, int]) -> float:
    """Return the median time from one clip to its probabilities, ms, 2 decimals.

    On the device that computes: a GPU where there is one, or else the CPU.

    Args:
        model: from uint8 clips to probabilities.
        shape: (T, H, W) of a clip.
    """
    versions = [keras.__version__, keras.backend.backend(), platform.python_version()]
    key = files.digest(versions, keras.distribution.list_devices(), model.to_json(), shape)
    return measured.once("latency", key, lambda: round(measure(model, shape), 2))


def measure(model: keras.Model, shape: tuple[int, int, int], runs: int = 30) -> float:
    """Return the median of `runs` predictions of one clip after three to warm up, ms."""
    clip = np.random.default_rng(0).integers(0, 256, (1, *shape, 3), np.uint8)
    times = []
    for _ in range(runs + 3):
        start = time.perf_counter()
        np.asarray(model.predict_on_batch(clip))
        times.append(time.perf_counter() - start)
    return float(np.median(times[3:]) * 1000)
