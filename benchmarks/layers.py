"""Training steps of the recipe's networks with Keras's layers and with those of `har.nn`.

Command: python benchmarks/layers.py [--json PATH] [--networks lrcn,convlstm,cnn3d] [--batch 16]
    [--steps 20]
Inputs: params.yaml; random clips of 20 frames of 64 × 64.
Cost: about three minutes on 2 cores.

Keras's layers replace `BatchNormalization` and `ConvLSTM2D`; slices replace `ShiftFeatures`. The
two networks take turns in one process, so that other load meets both; the median counts. The limit
is three times the network's multiplications at the rate of a large matrix product, measured here.
"""

# ruff: noqa: E402 (Keras loads after prepare)
from har.nn import process

process.prepare()

import argparse
import contextlib
import importlib
import json
import time
from pathlib import Path
from unittest import mock

import keras
import numpy as np
from keras import ops
from train import N_CLASSES, SHAPE, describe, speeds

from har import files
from har.comparison import flops
from har.errors import run
from har.nn.time_folding import ShiftFeatures, fold, unfold
from har.params import Params, load


class SlicedShift(ShiftFeatures):
    """`ShiftFeatures` as slices, padding and concatenation."""

    def call(self, frames):
        """Shift `frames`."""
        clips = unfold(frames, self.n_frames)
        part = clips.shape[-1] // 8
        still = ((0, 0), (0, 0), (0, 0))
        before = ops.pad(clips[:, :-1, ..., :part], ((0, 0), (1, 0), *still))
        after = ops.pad(clips[:, 1:, ..., part : 2 * part], ((0, 0), (0, 1), *still))
        return fold(ops.concatenate([before, after, clips[..., 2 * part :]], axis=-1))


KERAS = {
    "har.models.parts.residual_cnn.BatchNormalization": keras.layers.BatchNormalization,
    "har.models.parts.residual_cnn.ShiftFeatures": SlicedShift,
    "har.models.cnn3d.BatchNormalization": keras.layers.BatchNormalization,
    "har.models.convlstm.ConvLSTM2D": keras.layers.ConvLSTM2D,
}


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--networks", default="lrcn,convlstm,cnn3d")
    parser.add_argument("--batch", type=int, default=16, help="clips a step")
    parser.add_argument("--steps", type=int, default=20, help="of each side")
    arguments = parser.parse_args()
    params, (rate, *_) = load(), speeds(keras)
    print(f"{describe(keras)['text']}, batch {arguments.batch}, median of {arguments.steps}")
    print(f"{'ms a step':12}{'Keras':>10}{'har':>10}{'ratio':>8}{'limit':>8}")
    figures = {}
    for name in arguments.networks.split(","):
        with_keras, ours, model = compare(name, params, arguments.batch, arguments.steps)
        limit = 3 * 2 * flops.multiply_adds(model) * arguments.batch / rate
        times = [1000 * seconds for seconds in (with_keras, ours, limit)]
        ratio = with_keras / ours
        print(f"{name:12}{times[0]:10.0f}{times[1]:10.0f}{ratio:7.1f}x{times[2]:8.0f}", flush=True)
        figures[name] = dict(zip(("keras_ms", "har_ms", "limit_ms"), times, strict=True))
    if arguments.json:
        files.write_text(arguments.json, json.dumps(figures, indent=2) + "\n")


def compare(name: str, params: Params, batch: int, steps: int) -> tuple[float, float, keras.Model]:
    """Return the median seconds of a step with Keras's layers and with ours, and our network."""
    rng = np.random.default_rng(0)
    clips = ops.convert_to_tensor(rng.integers(0, 256, (batch, *SHAPE, 3), np.uint8))
    labels = ops.convert_to_tensor(np.arange(batch) % N_CLASSES)
    sides = [build(name, params, KERAS), build(name, params, {})]
    seconds = [[], []]
    for step in range(steps + 2):  # two to compile, and to fill caches
        for model, found in zip(sides, seconds, strict=True):
            start = time.perf_counter()
            model.train_on_batch(clips, labels)
            if step >= 2:
                found.append(time.perf_counter() - start)
    with_keras, ours = (float(np.median(found)) for found in seconds)
    return with_keras, ours, sides[1]


def build(name: str, params: Params, replaced: dict[str, type]) -> keras.Model:
    """Build and compile a network of the recipe with some layers replaced."""
    settings, recipe = params.approach(name), params.recipe(name)
    module = importlib.import_module(f"har.models.{name}")
    keras.utils.set_random_seed(params.seed)
    with contextlib.ExitStack() as stack:
        for target, layer in replaced.items():
            stack.enter_context(mock.patch(target, layer))
        model = module.build(N_CLASSES, SHAPE, settings, recipe, params.seed)
    model.compile(
        "adamw",
        "sparse_categorical_crossentropy",
        jit_compile="auto" if keras.backend.backend() == "jax" else False,
    )
    return model


if __name__ == "__main__":
    run(main)
