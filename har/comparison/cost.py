"""The cost of a network: parameters, multiply-adds of one clip, and the time that one clip takes.

Counted are convolutions, matrix products and recurrences; not normalisation, activations and
pooling, as is usual in the field. One multiply-add is two floating-point operations.
"""

import math
import os
import platform
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import keras
import numpy as np

layers = keras.layers


def of(model: keras.Model) -> dict[str, Any]:
    """Return `parameters`, `multiply_adds` and `latency_ms` of one clip at batch 1."""
    clip = np.random.default_rng(0).integers(0, 256, (1, *model.input_shape[1:]), np.uint8)
    return {
        "parameters": model.count_params(),
        "multiply_adds": multiply_adds(model),
        "latency_ms": latency_ms(lambda: model.predict_on_batch(clip)),
    }


def latency_ms(call: Callable[[], Any], runs: int = 20) -> float:
    """Return the median time of `runs` calls in milliseconds, after three calls to warm up."""
    times = []
    for _ in range(runs + 3):
        start = time.perf_counter()
        np.asarray(call())  # waits for a GPU
        times.append(time.perf_counter() - start)
    return float(np.median(times[3:]) * 1000)


def machine() -> str:
    """Return a line about this machine, to stand beside a time that was measured on it."""
    devices = ", ".join(keras.distribution.list_devices()) or "CPU"
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return f"{system}, {devices}, Keras on {keras.backend.backend()}"


def multiply_adds(model: keras.Model) -> int:
    """Return the multiply-adds of one clip; a `TypeError` names a layer of unknown cost."""
    calls = []
    call = layers.Layer.__call__

    def recording(layer, *args, **kwargs):
        result = call(layer, *args, **kwargs)
        calls.append((layer, args[0], result))
        return result

    # Layers fold time and views into the batch, so symbolic shapes do not tell: one clip does.
    clip = np.zeros((1, *model.input_shape[1:]), model.input.dtype)
    with mock.patch.object(layers.Layer, "__call__", recording):
        model(clip, training=False)
    cells = {id(layer.cell) for layer, _, _ in calls if isinstance(layer, layers.RNN)}
    return sum(_cost(*each) for each in calls if id(each[0]) not in cells)


def _cost(layer: keras.layers.Layer, given, result) -> int:
    if isinstance(layer, layers.DepthwiseConv1D | layers.DepthwiseConv2D):
        return math.prod(result.shape) * math.prod(layer.kernel_size)
    if isinstance(layer, layers.Conv1D | layers.Conv2D | layers.Conv3D):
        channels = given.shape[-1] // layer.groups
        return math.prod(result.shape) * math.prod(layer.kernel_size) * channels
    if isinstance(layer, layers.Dense):
        return math.prod(result.shape) * given.shape[-1]
    if isinstance(layer, layers.LSTM | layers.ConvLSTM2D):
        places = math.prod(result.shape[-3:-1]) if isinstance(layer, layers.ConvLSTM2D) else 1
        kernels = layer.cell.kernel, layer.cell.recurrent_kernel
        return given.shape[0] * given.shape[1] * places * sum(math.prod(w.shape) for w in kernels)
    # Normalisation has weights, and a cost that the field does not count.
    free = isinstance(layer, layers.BatchNormalization | layers.LayerNormalization)
    own = () if free or layer._layers else layer.weights
    if any(not isinstance(w, keras.Variable) or w.dtype.startswith("float") for w in own):
        raise TypeError(
            "multiply_adds expects layers whose cost it knows. "
            f"Received: {type(layer).__name__}. Add its cost to har/comparison/cost.py."
        )
    return 0
