"""What a network costs: multiply-adds of one clip, counted while it looks at one.

Counted are convolutions, matrix products and recurrences; not normalisation, activations and
pooling, as is usual in the field. One multiply-add is two floating-point operations.
"""

import math
from unittest import mock

import numpy as np

from har.nn.backend import keras
from har.nn.layers import PooledConv2D

layers = keras.layers

_SIZED = (layers.Conv1D, layers.Conv2D, layers.Conv3D)
_DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
# These have weights, and a cost that the field does not count.
_FREE = (layers.BatchNormalization, layers.LayerNormalization)


def multiply_adds(model: keras.Model) -> int:
    """Return the multiply-adds of one clip.

    Args:
        model: from clips, or features of clips, to probabilities.

    Raises:
        TypeError: a layer with weights is of a kind whose cost is not known here.
    """
    calls = []
    call = layers.Layer.__call__

    def recording(layer, *args, **kwargs):
        result = call(layer, *args, **kwargs)
        calls.append((layer, args[0], result))
        return result

    clip = np.zeros((1, *model.input_shape[1:]), model.input.dtype)
    with mock.patch.object(layers.Layer, "__call__", recording):
        model(clip, training=False)
    recurrent = [layer for layer, _, _ in calls if isinstance(layer, layers.RNN)]
    cells = {id(layer.cell) for layer in recurrent}
    return sum(_cost(*each) for each in calls if id(each[0]) not in cells)


def _cost(layer: keras.layers.Layer, given, result) -> int:
    if isinstance(layer, _DEPTHWISE):
        return math.prod(result.shape) * math.prod(layer.kernel_size)
    if isinstance(layer, PooledConv2D):
        places = math.prod(layer.convolved_shape(given.shape))
        return places * math.prod(layer.kernel_size) * given.shape[-1] // layer.groups
    if isinstance(layer, _SIZED):
        channels = given.shape[-1] // layer.groups
        return math.prod(result.shape) * math.prod(layer.kernel_size) * channels
    if isinstance(layer, layers.Dense):
        return math.prod(result.shape) * given.shape[-1]
    if isinstance(layer, layers.EinsumDense):
        return _einsum(layer.equation, given.shape, layer.kernel.shape)
    if isinstance(layer, layers.LSTM):
        return given.shape[0] * given.shape[1] * sum(math.prod(w.shape) for w in _kernels(layer))
    if isinstance(layer, layers.ConvLSTM2D):
        kernel, recurrent = _kernels(layer)
        places = given.shape[0] * given.shape[1] * math.prod(result.shape[-3:-1])
        return places * (math.prod(kernel.shape) + math.prod(recurrent.shape))
    if isinstance(layer, layers.MultiHeadAttention):
        # Its projections are layers of their own; here queries meet keys, and weights values.
        N, S, _ = given.shape
        return 2 * N * layer.num_heads * S * S * layer.key_dim
    own = layer.weights if not isinstance(layer, _FREE) and not layer._layers else ()
    if any(not isinstance(w, keras.Variable) or w.dtype.startswith("float") for w in own):
        raise TypeError(
            "multiply_adds expects layers whose cost it knows. "
            f"Received: {type(layer).__name__}. Add its cost to har/comparison/flops.py."
        )
    return 0


def _kernels(layer):
    return layer.cell.kernel, layer.cell.recurrent_kernel


def _einsum(equation: str, given: tuple[int, ...], kernel: tuple[int, ...]) -> int:
    """Return the cost of `einsum(equation, given, kernel)`: the product of all its indices."""
    left, right = equation.split("->")[0].split(",")
    sizes = dict(zip(left, given, strict=True)) | dict(zip(right, kernel, strict=True))
    return math.prod(sizes.values())
