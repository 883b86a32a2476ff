"""Training and inference beside stock Keras layers, and beside what the machine could do.

Command: python benchmarks/train.py [--json PATH] [--batches 4,16] [--networks convlstm,lrcn]
    [--seconds 8] [--precision mixed_bfloat16] [--devices 2] [--training-only]
Inputs: none; random clips of 20 frames of 64 × 64.
Cost: about four minutes on 2 cores; on a GPU, where most of it is compiling, two minutes a network
    and batch size. KERAS_BACKEND chooses the backend as always.

Both sides are the networks of the UCF50 tutorial (har/models says which), with Adam and without
augmentation. Stock is what the tutorial writes: TimeDistributed, `keras.layers.ConvLSTM2D`, float
frames that `Model.fit` cuts into batches. Ours takes uint8 from `har.training.batches`. Each side runs in a
process of its own, so that peak memory is its own, and the best of several epochs counts.

`first step` is from the first line that builds the network to the end of the first step, Keras
being loaded and the clips there; `again` is the same in a later process, where ours finds on disk
what JAX compiled. Each run of this script begins with an empty cache.

The limit is the longer of two times: the multiplications of the network at the rate of a large
matrix product, and its layers' outputs, each written and read once forward and twice backward, at
the rate of a large copy. Both rates are measured here. `wait` is what an epoch takes less, in
percent, where every step is given the same batch that lies ready: where frames lie on a GPU, whose
host runs ahead. Elsewhere two epochs differ by more than that, so it is the part of a training loop
that is spent in asking the feed for batches.

With `--devices N`, ours is also measured on N devices at N times its best batch (JAX only).
"""

import argparse
import gc
import json
import math
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from har import files
from har.errors import UserError, run

SHAPE = (20, 64, 64)
N_CLASSES = 5
NETWORKS = ("convlstm", "lrcn")
STEPS = 64  # of an epoch on a GPU; on a CPU 16 are long enough to be timed
SHOWN = ("training", "limit", "inference", "first_step_s", "again_s", "peak_mb", "wait")
FORMS = ("{:,.1f}", "{:,.0f}", "{:,.1f}", "{:.1f}", "{:.1f}", "{:,.0f}", "{:.2%}")
ENOUGH = 4 * 10**9  # bytes of clips


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--batches", help="clips a step; default: 4,16 or, on a GPU, 4,64,256,512")
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--seconds", type=float, default=8, help="a measurement takes")
    parser.add_argument("--precision", help="of ours; float32 or, on a GPU, mixed_bfloat16")
    parser.add_argument("--devices", type=int, default=1, help="to share a batch out to")
    parser.add_argument("--training-only", action="store_true", help="leave inference out")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(measure(**json.loads(arguments.worker))))
        return
    with tempfile.TemporaryDirectory() as cache:
        os.environ["HAR_CACHE"] = cache
        os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
        compare(arguments)


def compare(arguments: argparse.Namespace) -> None:
    """Measure all that the command line asks for."""
    machine = worker({"task": "machine"})
    gpu = machine["gpu"]
    batches = arguments.batches or ("4,64,256,512" if gpu else "4,16")
    batches = sorted({number(batch) for batch in batches.split(",")})
    precision = arguments.precision or ("mixed_bfloat16" if gpu else "float32")
    networks = arguments.networks.split(",")
    if not set(networks) <= set(NETWORKS):
        raise UserError(
            f"Expected --networks out of {', '.join(NETWORKS)}. Received: {arguments.networks}. "
            "Separate them by commas."
        )
    print(f"{machine['text']}; ours in {precision}, stock in float32")
    line = "{:18}{:>6}{:>14}{:>10}{:>14}{:>12}{:>8}{:>10}{:>8}"
    header = "batch,training,limit,inference,first step,again,memory,wait"
    print(line.format("", *header.split(",")))
    print(line.format("", "", "clips/s", "", "clips/s", "s", "s", "MB", ""))

    figures: dict[str, float | str] = {"machine": machine["text"], "precision": precision}
    waits = []
    for network in networks:
        best = {}
        for side in ("stock", "ours"):
            task = {
                "network": network,
                "side": side,
                "batches": batches,
                "seconds": arguments.seconds,
                "precision": precision if side == "ours" else "float32",
                "inference": not arguments.training_only,
            }
            rows = worker(task)
            for row in rows:
                if side == "ours":
                    once = {"batches": [row["batch"]], "first_step_only": True}
                    row["again_s"] = worker(task | once)[0]["first_step_s"]
                show(line, f"{network} {side}", row)
                for name in SHOWN:
                    figures[f"{network}_{side}_{row['batch']}_{name}"] = row[name]
            best[side] = max(rows, key=lambda row: row["training"])
        waits.append(best["ours"]["wait"])
        figures |= {
            f"{network}_vs_stock": best["ours"]["training"] / best["stock"]["training"],
            f"{network}_vs_limit": best["ours"]["training"] / best["ours"]["limit"],
            f"{network}_data_wait_share": best["ours"]["wait"],
        }
        if not arguments.training_only:
            figures[f"{network}_inference_vs_stock"] = (
                best["ours"]["inference"] / best["stock"]["inference"]
            )
        print(f"{network}: training {figures[f'{network}_vs_stock']:.2f} x stock, best batches")
        if arguments.devices > 1:
            task |= {
                "batches": [best["ours"]["batch"] * arguments.devices],
                "devices": arguments.devices,
            }
            [row] = worker(task)
            show(line, f"{network} x {arguments.devices}", row)
            scaling = row["training"] / best["ours"]["training"]
            figures[f"{network}_scaling_{arguments.devices}"] = scaling
            print(f"{network}: {arguments.devices} devices {scaling:.2f} x one")
    figures["data_wait_share"] = max(waits)
    print(f"waiting for data: {figures['data_wait_share']:.2%} of a step at most")
    if arguments.json:
        files.write_text(arguments.json, json.dumps(figures, indent=2) + "\n")


def number(text: str) -> int:
    """Return a batch size.

    Raises:
        UserError: it is none.
    """
    if not text.isdecimal() or int(text) == 0:
        raise UserError(
            f"Expected --batches as numbers. Received: {text}. Separate them by commas."
        )
    return int(text)


def show(line: str, name: str, row: dict[str, float | None]) -> None:
    """Print a row of the table."""
    cells = [
        "" if row[key] is None else form.format(row[key])
        for key, form in zip(SHOWN, FORMS, strict=True)
    ]
    print(line.format(name, row["batch"], *cells), flush=True)


def worker(task: dict):
    """Measure in a process of its own.

    Raises:
        UserError: it failed, say for want of memory.
    """
    process = subprocess.run(  # noqa: S603 (this script)
        [sys.executable, __file__, "--worker", json.dumps(task)],
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        sys.stderr.write(process.stderr)
        raise UserError(
            f"Expected figures of {task}. Received: exit code {process.returncode}, see above. "
            "Try smaller --batches."
        )
    return json.loads(process.stdout.splitlines()[-1])


def measure(task: str = "network", **what):
    """Do the task of a worker."""
    if what.get("side") == "stock":
        import keras  # as a tutorial does: `har.nn.backend` also tunes memory and convolutions
    else:
        from har.nn.backend import keras

    return describe(keras) if task == "machine" else measure_network(keras, **what)


def describe(keras) -> dict[str, str | bool]:
    """Return what computes: the machine, and the versions."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax as module

        device = module.devices()[0]
        gpu, name = device.platform == "gpu", device.device_kind
    else:
        import tensorflow as module

        found = module.config.list_physical_devices("GPU")
        gpu = bool(found)
        name = module.config.experimental.get_device_details(found[0])["device_name"] if gpu else ""
    if not gpu:
        name = f"{len(os.sched_getaffinity(0))} cores of {processor()}"
    text = (
        f"{name}, Keras {keras.__version__}, {backend} {module.__version__}, "
        f"Python {platform.python_version()}"
    )
    return {"gpu": gpu, "text": text}


def processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(s.split(":")[1].strip() for s in lines if s.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def measure_network(
    keras,
    network: str,
    side: str,
    batches: list[int],
    seconds: float,
    precision: str,
    devices: int = 1,
    inference: bool = True,
    first_step_only: bool = False,
) -> list[dict[str, float | None]]:
    """Return a row of figures for each batch size, smallest first."""
    if devices > 1:
        share_out(devices)
    keras.config.set_dtype_policy(precision)
    keras.utils.set_random_seed(0)
    limit = None if first_step_only else Limit(keras, stock(keras, network), devices)
    gpu = describe(keras)["gpu"]
    rows = []
    for batch in batches:
        given = (network, side, batch, *clips(batch, side, gpu))
        if first_step_only:
            rows.append({"first_step_s": prepare(keras, *given).first_step})
        else:
            rows.append(measure_batch(keras, *given, seconds, inference))
            rows[-1]["limit"] = limit.clips_per_s
        del given
        gc.collect()  # what is left of one batch size is no part of the memory of the next
    return rows


class Prepared(NamedTuple):
    """A network after its first step, what `fit` takes, our feed or None, the seconds it took."""

    model: Any
    arguments: dict[str, Any]
    feed: Any
    first_step: float


def prepare(keras, network: str, side: str, batch: int, frames, labels) -> Prepared:
    """Build a network, compile it and do its first step."""
    feed = None
    arguments = {"x": frames, "y": labels, "batch_size": batch}
    if side == "ours":
        from har.training.batches import Batches

        feed = Batches(frames, labels, batch, seed=0)
        arguments = {"x": feed.for_keras()}
    start = time.perf_counter()
    model = stock(keras, network) if side == "stock" else ours(network)
    model.compile(
        "adam",
        "sparse_categorical_crossentropy",
        jit_compile="auto" if keras.backend.backend() == "jax" else False,
    )
    model.fit(**arguments, steps_per_epoch=1, verbose=0)
    return Prepared(model, arguments, feed, time.perf_counter() - start)


def measure_batch(
    keras,
    network: str,
    side: str,
    batch: int,
    frames: np.ndarray,
    labels: np.ndarray,
    seconds: float,
    inference: bool,
) -> dict[str, float | None]:
    """Return the row of a batch size, but for the limit."""
    model, arguments, feed, first_step = prepare(keras, network, side, batch, frames, labels)
    epoch = fastest_epoch(keras, model, arguments, seconds)
    predicting = fastest_prediction(model, arguments) if inference else None
    peak = peak_memory(keras)  # before another batch lies on the device
    wait = None
    if feed and feed.place == "device":
        same = {"x": the_same_batch(keras, feed)}
        wait = 1 - fastest_epoch(keras, model, same, seconds) / epoch
    elif feed:
        wait = waiting(model, feed, seconds / 4)
    return {
        "batch": batch,
        "training": len(labels) / epoch,
        "inference": len(labels) / predicting if predicting else None,
        "first_step_s": first_step,
        "again_s": None,
        "peak_mb": peak / 2**20,
        "wait": wait,
    }


def share_out(devices: int) -> None:
    """Have every batch shared out to so many devices."""
    from har.training import distribution

    if distribution.start().devices != devices:
        raise UserError(
            f"Expected {devices} devices. Received: {distribution.share().devices}. "
            "CUDA_VISIBLE_DEVICES says which are seen."
        )


def clips(batch: int, side: str, gpu: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return enough clips for a few steps: floats for stock, as the tutorial has them, or uint8."""
    dtype = np.dtype(np.float32 if side == "stock" else np.uint8)
    n_bytes = math.prod(SHAPE) * 3 * dtype.itemsize
    n = batch * min(STEPS if gpu else STEPS // 4, ENOUGH // (batch * n_bytes))
    rng = np.random.default_rng(0)
    some = rng.integers(0, 256, (min(n, 64), *SHAPE, 3), np.uint8)
    if side == "stock":
        some = (some / 255).astype(np.float32)
    return np.resize(some, (n, *SHAPE, 3)), rng.integers(0, N_CLASSES, n)


def stock(keras, network: str):
    """Build the tutorial's network as the tutorial writes it."""
    layers = keras.layers
    x = inputs = keras.Input((*SHAPE, 3))
    if network == "convlstm":
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


def ours(network: str):
    """Build the same network from this project's layers."""
    import importlib

    from har.params import load

    params, name = load(), f"{network}_tutorial"
    train = params.recipe(name).model_copy(update={"frames": SHAPE[0]})
    module = importlib.import_module(f"har.models.{name}")
    return module.build(N_CLASSES, SHAPE, params.approach(name), train, 0)


def fastest_epoch(keras, model, arguments: dict, seconds: float) -> float:
    """Return the seconds of the fastest epoch, of at least two after the one that compiles."""
    epochs: list[float] = []
    clock = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda *_: epochs.append(-time.perf_counter()),
        on_epoch_end=lambda *_: epochs.append(epochs.pop() + time.perf_counter()),
    )
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        model.fit(**arguments, epochs=3, verbose=0, callbacks=[clock])
    return min(epochs)


def fastest_prediction(model, arguments: dict) -> float:
    """Return the seconds of the fastest of three predictions of all clips."""
    given = {name: value for name, value in arguments.items() if name != "y"}
    model.predict(**given, verbose=0)
    found = []
    for _ in range(3):
        start = time.perf_counter()
        model.predict(**given, verbose=0)
        found.append(time.perf_counter() - start)
    return min(found)


def the_same_batch(keras, feed):
    """Return what `Model.fit` takes for as many batches as `feed` has, all of them its first."""
    n, batch = len(feed), feed[0]

    class TheSame(keras.utils.PyDataset):
        def __len__(self) -> int:
            return n

        def __getitem__(self, index: int):
            return batch

    return TheSame()


def waiting(model, feed, seconds: float) -> float:
    """Return the part of a training loop that it spends asking the feed for batches."""
    model.train_on_batch(*feed[0])
    waited, start = 0.0, time.perf_counter()
    while not waited or time.perf_counter() - start < seconds:
        for index in range(len(feed)):
            asked = time.perf_counter()
            batch = feed[index]
            waited += time.perf_counter() - asked
            model.train_on_batch(*batch)
        feed.on_epoch_end()
    return waited / (time.perf_counter() - start)


def peak_memory(keras) -> float:
    """Return the highest use so far in bytes: of JAX on its GPU, or else of the process."""
    if keras.backend.backend() == "jax":
        import jax

        stats = jax.local_devices()[0].memory_stats()
        if stats:
            return stats["peak_bytes_in_use"]
    kilobytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobytes


class Limit:
    """What the machine could do at most with a network in stock layers.

    Attributes:
        clips_per_s: of training.
    """

    def __init__(self, keras, network, devices: int) -> None:
        operations, numbers = 0, 0
        for layer in network.layers:
            n = math.prod(layer.output.shape[1:])
            inner = getattr(layer, "layer", layer)
            kind = type(inner).__name__
            if kind == "ConvLSTM2D":
                # Four gates, each of the input and of the state, at every place.
                kernels = inner.cell.kernel, inner.cell.recurrent_kernel
                operations += n // inner.filters * sum(math.prod(k.shape) for k in kernels)
                n *= 5  # the gates, and the state
            elif kind == "Conv2D":
                operations += n // inner.filters * math.prod(inner.kernel.shape)
            elif kind == "LSTM":
                steps = layer.input.shape[1]
                kernels = inner.cell.kernel, inner.cell.recurrent_kernel
                operations += steps * sum(math.prod(k.shape) for k in kernels)
                n *= 5 * steps
            elif kind == "Dense":
                operations += math.prod(inner.kernel.shape)
            numbers += n
        rate, bandwidth, itemsize = speeds(keras)
        # Backward takes two products for one of forward, and moves values and gradients.
        seconds = max(3 * 2 * operations / rate, 3 * 2 * numbers * itemsize / bandwidth)
        self.clips_per_s = devices / seconds


def speeds(keras) -> tuple[float, float, int]:
    """Return operations a second of a large product, bytes a second of a large copy, itemsize."""
    ops = keras.ops
    dtype = keras.config.dtype_policy().compute_dtype
    gpu = keras.backend.backend() == "jax" and keras.distribution.list_devices()[0][:3] == "gpu"
    side = 8192 if gpu else 2048
    square = ops.ones((side, side), dtype)
    long = ops.ones(((256 if gpu else 32) * 2**20,), dtype)
    itemsize = square.dtype.itemsize if hasattr(square.dtype, "itemsize") else square.dtype.size
    product = fastest(lambda: ops.matmul(square, square))
    copy = fastest(lambda: ops.add(long, 1))
    return 2 * side**3 / product, 2 * math.prod(long.shape) * itemsize / copy, itemsize


def fastest(compute) -> float:
    """Return the seconds of a call, in the fastest of a few rounds of calls.

    A round is waited for as a whole: to wait for each call takes a GPU as long as a call.
    """
    found, calls = [], 8
    for _ in range(4):
        start = time.perf_counter()
        for _ in range(calls):
            result = compute()
        # A number of the last result is there only when all of them are.
        float(result[(0,) * len(result.shape)])
        found.append((time.perf_counter() - start) / calls)
    return min(found)


if __name__ == "__main__":
    run(main)
