"""Training and inference with this project's layers and with Keras's.

Command: python benchmarks/train.py [--networks convlstm_tutorial lrcn_tutorial] [--batches 16]
    [--steps 16] [--repeats 3] [--precision float32]
Inputs: params.yaml; random clips of 20 frames of 64 × 64. KERAS_BACKEND chooses the backend.
Cost: three minutes a network on 2 cores; two on a GPU, most of it compiling.

Both sides have the same architecture, optimizer (Adam) and precision. Stock of the tutorial's
networks is what it writes: `TimeDistributed`, `keras.layers.ConvLSTM2D` and float frames. Stock of
the others is our network with Keras's layers. Each side has its own process; epochs take turns and
the fastest counts.

- `first s` is from building the network to the end of the first step; nothing is compiled before.
- `limit` is three times the multiply-adds (forward, and twice backward) at the rate of a large
  matrix product, which is measured here.
"""

import argparse
import contextlib
import functools
import importlib
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any
from unittest import mock

import harness
import numpy as np

from har.errors import run

SHAPE = (20, 64, 64)
N_CLASSES = 5
NETWORKS = ("convlstm_tutorial", "lrcn_tutorial", "convlstm", "lrcn")
COLUMNS = {"clips/s": ",.1f", "limit": ",.0f", "inference": ",.1f", "first s": ".1f"}


def main() -> None:
    """Measure and print a table."""
    parser = harness.parser(__doc__)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS[:2])
    parser.add_argument("--batches", nargs="+", type=int, default=[16], help="clips")
    parser.add_argument("--steps", type=int, default=16, help="of an epoch")
    parser.add_argument("--repeats", type=int, default=3, help="epochs of each side")
    parser.add_argument("--precision", choices=("float32", "mixed_bfloat16"), default="float32")
    options = parser.parse_args()
    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
    # Two processes share a GPU: none may take its memory in advance.
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    with tempfile.TemporaryDirectory() as cache:
        os.environ["HAR_CACHE"] = cache
        title = harness.machine("keras", os.environ.get("KERAS_BACKEND", "tensorflow"))
        report = harness.Report(f"{title}; {options.precision} on both sides", COLUMNS)
        for network in options.networks:
            for batch in options.batches:
                _compare(network, batch, options, report)


class _Side:
    """A process that keeps one network from call to call."""

    def __init__(self, *start: Any) -> None:
        self._pool = ProcessPoolExecutor(1, get_context("spawn"))
        self.first = self.call(_start, *start)

    def call(self, function: Callable, *arguments: Any) -> Any:
        return self._pool.submit(function, *arguments).result()


def _compare(network: str, batch: int, options: argparse.Namespace, report: harness.Report) -> None:
    given = options.precision, options.steps
    sides = {name: _Side(name, network, batch, *given) for name in ("stock", "ours")}

    def clips_per_s(measure: Callable[[], float]) -> dict[str, float]:
        ways = {name: functools.partial(side.call, measure) for name, side in sides.items()}
        found = harness.turns(ways, options.repeats)
        return {name: batch * options.steps / min(found[name]) for name in sides}

    training, inference = clips_per_s(_epoch), clips_per_s(_prediction)
    limit = sides["ours"].call(_limit)
    for name, side in sides.items():
        report.row(f"{network} {batch} {name}", training[name], limit, inference[name], side.first)
    label = f"{network}, batch {batch}"
    report.ratio(f"{label}: training, x stock", training["ours"] / training["stock"])
    report.ratio(f"{label}: inference, x stock", inference["ours"] / inference["stock"])
    report.ratio(f"{label}: training, of the limit", training["ours"] / limit)


def _on_jax() -> bool:
    return os.environ.get("KERAS_BACKEND") == "jax"


# From here on in the process of a side, which alone loads Keras.


_kept: dict[str, Any] = {}  # the network after its first step, and what `fit` takes


def _start(side: str, network: str, batch: int, precision: str, steps: int) -> float:
    if side == "ours":
        from har.nn import process

        process.prepare()
    import keras

    keras.config.set_dtype_policy(precision)
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    clips = rng.integers(0, 256, (min(steps * batch, 64), *SHAPE, 3), np.uint8)
    labels = rng.integers(0, N_CLASSES, steps * batch)
    plain = side == "stock" and network.endswith("tutorial")
    if plain:
        clips = (clips / 255).astype(np.float32)
    frames = np.resize(clips, (len(labels), *clips.shape[1:]))
    arguments = {"x": frames, "y": labels, "batch_size": batch}
    if not plain:
        from har.training.batches import Batches

        arguments = {"x": Batches(frames, labels, batch, seed=0).for_keras()}
    start = time.perf_counter()
    model = _tutorial(keras, network) if plain else _build(network, side)
    jit = "auto" if _on_jax() else False
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=jit)
    model.fit(**arguments, steps_per_epoch=1, verbose=0)
    seconds = time.perf_counter() - start
    _kept.update(model=model, arguments=arguments)
    return seconds


def _tutorial(keras, network: str):
    layers = keras.layers
    x = inputs = keras.Input((*SHAPE, 3))
    if network == "convlstm_tutorial":
        for block, filters in enumerate((4, 8, 14, 16)):
            x = layers.ConvLSTM2D(filters, 3, recurrent_dropout=0.2, return_sequences=True)(x)
            x = layers.MaxPooling3D((1, 2, 2), padding="same")(x)
            if block < 3:
                x = layers.TimeDistributed(layers.Dropout(0.2))(x)
        x = layers.Flatten()(x)
    else:
        for block, (filters, pool) in enumerate(((16, 4), (32, 4), (64, 2), (64, 2))):
            x = layers.TimeDistributed(
                layers.Conv2D(filters, 3, padding="same", activation="relu")
            )(x)
            x = layers.TimeDistributed(layers.MaxPooling2D(pool))(x)
            if block < 3:
                x = layers.TimeDistributed(layers.Dropout(0.25))(x)
        x = layers.TimeDistributed(layers.Flatten())(x)
        x = layers.LSTM(32, use_cudnn=False)(x)
    outputs = layers.Dense(N_CLASSES, activation="softmax", dtype="float32")(x)
    return keras.Model(inputs, outputs)


def _build(network: str, side: str):
    from har.params import load

    params = load()
    train = params.recipe(network).model_copy(update={"frames": SHAPE[0]})
    module = importlib.import_module(f"har.models.{network}")
    with contextlib.ExitStack() as stack:
        for target, layer in _keras_layers().items() if side == "stock" else ():
            stack.enter_context(mock.patch(f"har.models.{target}", layer))
        return module.build(N_CLASSES, SHAPE, params.approach(network), train, 0)


def _keras_layers() -> dict[str, type]:
    from keras import layers

    return {
        "parts.residual_cnn.BatchNormalization": layers.BatchNormalization,
        "convlstm.ConvLSTM2D": layers.ConvLSTM2D,
    }


def _epoch() -> float:
    """Return the seconds of an epoch, without the preparations of `fit`."""
    import keras

    times: list[float] = []
    clock = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda *_: times.append(-time.perf_counter()),
        on_epoch_end=lambda *_: times.append(times.pop() + time.perf_counter()),
    )
    _kept["model"].fit(**_kept["arguments"], verbose=0, callbacks=[clock])
    return times[0]


def _prediction() -> float:
    predict, given = _kept["model"].predict, dict(_kept["arguments"])
    given.pop("y", None)
    predict(**given, steps=1, verbose=0)  # compiles
    start = time.perf_counter()
    predict(**given, verbose=0)
    return time.perf_counter() - start


def _limit() -> float:
    """Return the clips a second that one device can train at most."""
    import keras

    from har.comparison import cost

    rate = harness.multiply_adds_per_s(keras.config.dtype_policy().compute_dtype)
    return rate / (3 * cost.multiply_adds(_kept["model"]))


if __name__ == "__main__":
    run(main)
