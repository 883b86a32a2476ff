"""Max-pooling with a quick gradient on JAX, and a convolution that pools before its bias."""
# ruff: noqa: D102 (methods that Keras calls and documents)

import keras
from keras import ops

from har.nn.activations import check_activation


def tile_maxima(x, sizes: tuple[int, ...], padding: str):
    """Return the maximum of each tile of x, (N, …, C): max-pooling whose strides equal its sizes.

    Its gradient is one pass over memory; XLA's of max-pooling scatters one number at a time. Equal
    numbers of a tile share the gradient. With padding `same` incomplete tiles count.
    """
    lengths = x.shape[1:-1]
    if padding == "same":
        missing = [-n % size for n, size in zip(lengths, sizes, strict=True)]
        if any(missing):
            around = [(n // 2, n - n // 2) for n in missing]
            x = ops.pad(x, [(0, 0), *around, (0, 0)], constant_values=float("-inf"))
    else:
        whole = (slice(0, n - n % size) for n, size in zip(lengths, sizes, strict=True))
        x = x[(slice(None), *whole)]
    shape, within = [-1], []
    for length, size in zip(x.shape[1:-1], sizes, strict=True):
        shape.append(length // size)
        if size > 1:
            within.append(len(shape))
            shape.append(size)
    return ops.max(ops.reshape(x, (*shape, x.shape[-1])), axis=within) if within else x


@keras.saving.register_keras_serializable("har")
class MaxPooling3D(keras.layers.MaxPooling3D):
    """`keras.layers.MaxPooling3D` with a quick gradient on JAX."""

    def call(self, inputs):
        usual = self.data_format == "channels_last" and self.strides == self.pool_size
        if keras.backend.backend() != "jax" or not usual:
            return super().call(inputs)
        return tile_maxima(inputs, self.pool_size, self.padding)


@keras.saving.register_keras_serializable("har")
class PooledConv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D`, then `keras.layers.MaxPooling2D` whose strides equal its sizes.

    It pools before the bias and the activation: the same result with fewer numbers to move.

    Input: (N, H, W, C). Output: (N, ⌈H'/pool⌉, ⌈W'/pool⌉, filters); the convolution makes H' × W'.
    """

    def __init__(
        self, filters: int, kernel_size: int | tuple[int, int], pool_size: int, **kwargs
    ) -> None:
        super().__init__(filters, kernel_size, **kwargs)
        self.pool_size = pool_size
        check_activation(self.activation, "PooledConv2D", "Conv2D and MaxPooling2D")
        if self.data_format != "channels_last":
            raise ValueError(
                f"PooledConv2D expects data_format='channels_last'. Received: {self.data_format}"
            )

    def call(self, inputs):
        x = self.convolution_op(inputs, self.kernel)
        if keras.backend.backend() == "jax":
            x = tile_maxima(x, (self.pool_size, self.pool_size), "same")
        else:
            x = ops.max_pool(x, self.pool_size, padding="same")
        if self.use_bias:
            x = x + ops.cast(self.bias, x.dtype)
        return self.activation(x)

    def convolved_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape before pooling."""
        return super().compute_output_shape(input_shape)

    def compute_output_shape(self, input_shape):
        N, H, W, C = self.convolved_shape(input_shape)
        return (N, -(-H // self.pool_size), -(-W // self.pool_size), C)

    def get_config(self):
        return {**super().get_config(), "pool_size": self.pool_size}
