"""How long one clip takes, measured once per machine and network, then remembered.

A measured time differs from run to run. Written into metrics.json as it comes, it would make
every evaluation differ from the last and fill each pull request with noise. So the first figure
for a network on a machine is kept in the user's cache folder (or `HAR_CACHE`), outside the
project, where fresh clones on the same machine find it too.
"""

import json
import os
import platform
import time
from pathlib import Path

import numpy as np
import platformdirs

from har import work
from har.backend import keras


def measured_once(model: keras.Model, shape: tuple[int, int, int]) -> float:
    """Return the median time from one clip to its probabilities on this machine, ms, 2 decimals.

    Args:
        model: from uint8 clips to probabilities.
        shape: (T, H, W) of a clip.
    """
    cache = Path(os.environ.get("HAR_CACHE") or platformdirs.user_cache_path("har"))
    machine = [platform.node(), platform.machine(), os.cpu_count()]
    versions = [keras.__version__, keras.backend.backend(), platform.python_version()]
    note = cache / "latency" / f"{work.digest(machine, versions, model.to_json(), shape)}.json"
    try:
        return json.loads(note.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        latency = round(measure(model, shape), 2)
        work.write_text(note, json.dumps(latency))
        return latency


def measure(model: keras.Model, shape: tuple[int, int, int], runs: int = 30) -> float:
    """Return the median of `runs` predictions of one clip after three to warm up, ms."""
    clip = np.random.default_rng(0).integers(0, 256, (1, *shape, 3), np.uint8)
    times = []
    for _ in range(runs + 3):
        start = time.perf_counter()
        np.asarray(model.predict_on_batch(clip))
        times.append(time.perf_counter() - start)
    return float(np.median(times[3:]) * 1000)
