"""What Keras lacks: a fused ConvLSTM2D, quick normalisation and pooling, clips folded to frames."""

import numpy as np

from har.nn import backend, space_to_depth

# isort: split
import keras
from keras import ops

UNROLL = 5  # time steps of a round of a GPU's loop, which copies what it hands on
LANES = 16  # float32 numbers in a vector of AVX-512
CHANNELS = (
    8  # come in multiples of it, or oneDNN takes far longer, for 17 seven times as long as 16
)

register = keras.saving.register_keras_serializable("har")


@register
class ConvLSTM2D(keras.layers.ConvLSTM2D):
    """`keras.layers.ConvLSTM2D`, several times fewer and larger convolutions.

    Shi et al., Convolutional LSTM Network (NeurIPS 2015). Keras runs eight convolutions a time
    step: four gates, each of the input and of the state. Here the input's four gates of all time
    steps are one convolution before the loop, and the state's four gates are one a step. Weights,
    arguments and results are those of Keras's layer, so weights can be exchanged.

    One thing differs: `recurrent_dropout` draws one mask a clip for all four gates, where Keras
    draws four. `dropout` of the input, masks and `channels_first` are refused.

    Input: (N, T, H, W, C). Output: (N, T, H', W', filters) with `return_sequences`, else
    (N, H', W', filters).
    """

    def __init__(self, filters: int, kernel_size: int | tuple[int, int], **kwargs) -> None:
        super().__init__(filters, kernel_size, **kwargs)
        refused = [name for name in ("dropout", "go_backwards", "unroll") if getattr(self, name)]
        if self.data_format != "channels_last":
            refused.append("data_format")
        if refused:
            raise ValueError(
                "har.nn.layers.ConvLSTM2D expects the defaults of dropout, go_backwards, unroll and "
                f"data_format. Received: other values of {', '.join(refused)}. "
                "Use keras.layers.ConvLSTM2D for these."
            )
        for function in (self.activation, self.recurrent_activation):
            name = keras.activations.serialize(function)
            if not isinstance(name, str) or name not in ACTIVATIONS:
                raise ValueError(
                    "har.nn.layers.ConvLSTM2D expects activations out of "
                    f"{', '.join(ACTIVATIONS)}. Received: {name}. "
                    "Use keras.layers.ConvLSTM2D for others."
                )

    def inner_loop(self, sequences, initial_state, mask, training=False):
        """Run the recurrence; called by Keras's `RNN.call`."""
        if mask is not None:
            raise ValueError(
                "har.nn.layers.ConvLSTM2D expects clips without a mask. Received: a mask. "
                "Give every clip the same number of frames."
            )
        cell = self.cell
        T = sequences.shape[1]
        h, c = initial_state
        # With time in front, the gates of a step lie together in memory.
        frames = fold(ops.transpose(sequences, (1, 0, 2, 3, 4)))
        recurrent_kernel = ops.convert_to_tensor(cell.recurrent_kernel)
        size = self._block_size(h.shape)
        if size > 1:
            # All of the recurrence is of blocks of pixels, which have more channels.
            kernel = ops.convert_to_tensor(cell.kernel)
            gates = space_to_depth.convolve(frames, kernel, size, cell.padding, groups=4)
            before = tuple((length - 1) // 2 for length in cell.kernel_size)
            recurrent_kernel = space_to_depth.block_kernel(recurrent_kernel, size, before, groups=4)
            h, c = space_to_depth.to_blocks(h, size), space_to_depth.to_blocks(c, size)
        else:
            gates = ops.conv(
                frames, cell.kernel, cell.strides, cell.padding, dilation_rate=cell.dilation_rate
            )
        if cell.use_bias:
            bias = ops.reshape(cell.bias, (4, 1, self.filters))
            gates = gates + ops.reshape(ops.tile(bias, (1, size * size, 1)), (-1,))
        gates = ops.reshape(gates, (T, -1, *gates.shape[1:]))
        keep = None
        if training and cell.recurrent_dropout:
            keep = keras.random.dropout(
                ops.ones_like(h), cell.recurrent_dropout, seed=cell.seed_generator
            )
        states, c = self._recur(gates, recurrent_kernel, h, c, keep)
        if size > 1:
            states = space_to_depth.from_blocks(fold(states), size)
            states = ops.reshape(states, (T, -1, *states.shape[1:]))
            c = space_to_depth.from_blocks(c, size)
        return states[-1], ops.transpose(states, (1, 0, 2, 3, 4)), [states[-1], c]

    def _block_size(self, state: tuple[int, ...]) -> int:
        """Return the size of the blocks of pixels to work on; 1 is pixels.

        Args:
            state: shape of h.
        """
        usual = max(*self.strides, *self.dilation_rate) == 1
        even = state[1] % 2 == state[2] % 2 == 0
        few = self.filters < space_to_depth.TENSOR_CORE
        return 2 if usual and even and few and backend.on_gpu() else 1

    def _recur(self, gates, kernel, h, c, keep):
        """Return the states h of all steps, (T, N, H, W, filters), and the last c.

        Its gradient is written out: the loop back through time then holds nothing but what each
        step needs of the next one, and the kernel's gradient is one convolution of all steps.
        """
        T = gates.shape[0]
        steps = ops.arange(T)
        forward = backend.fused(self._forward)
        backward = backend.fused(self._backward)

        def drop(h):
            return h if keep is None else h * keep

        def step(state, t):
            h, c = state[:2]
            z = constant_gates[t] + ops.conv(drop(h), constant_kernel, padding="same")
            h, c_next = forward(z, c)
            return (h, c_next, z)[:carried], (h, c, z)

        constant_gates, constant_kernel, h0, c0 = map(ops.stop_gradient, (gates, kernel, h, c))
        # TensorFlow's `ops.scan` wants outputs shaped as the state is. JAX would copy all of it.
        carried = 3 if keras.backend.backend() == "tensorflow" else 2
        unroll = UNROLL if backend.on_gpu() else 1
        start = (h0, c0, ops.zeros_like(constant_gates[0]))[:carried]
        (_, c_last, *_), (states, cs, zs) = ops.scan(step, start, steps, unroll=unroll)
        # Never computed, as nothing asks for its value: it is here for the kernel's gradient.
        before = drop(ops.concatenate([h0[None], states[:-1]]))
        from_states = ops.conv(fold(before), kernel, padding="same")
        from_states = ops.reshape(from_states, ops.shape(gates))

        @ops.custom_gradient
        def with_gradient(gates, from_states, h, c):
            def gradient(*upstream):
                d_states, d_c = keras.tree.flatten(upstream)

                def step_back(state, t):
                    d_h, d_c = state[:2]
                    d_gates, d_c = backward(zs[t], cs[t], d_h + d_states[t], d_c)
                    d_h = drop(_state_gradient(d_gates, constant_kernel))
                    made = (d_h, d_c, d_gates)
                    return made[:carried], made if carried == 3 else made[2:]

                end = (ops.zeros_like(h0), d_c, ops.zeros_like(constant_gates[0]))[:carried]
                (d_h, d_c, *_), (*_, d_gates) = ops.scan(
                    step_back, end, steps, reverse=True, unroll=unroll
                )
                return d_gates, d_gates, d_h, d_c

            return (states, c_last), gradient

        return with_gradient(gates, from_states, h, c)

    def _forward(self, z, c):
        """Return the next h and c of a step from the gates before their activations."""
        activation, _ = _activation(self.activation)
        recurrent, _ = _activation(self.recurrent_activation)
        i, f, g, o = ops.split(z, 4, axis=-1)
        c = recurrent(f) * c + recurrent(i) * activation(g)
        return recurrent(o) * activation(c), c

    def _backward(self, z, c, d_h, d_c):
        """Return the gradients of `z` and of `c`, the memory before the step."""
        activation, slope = _activation(self.activation)
        recurrent, recurrent_slope = _activation(self.recurrent_activation)
        i, f, g, o = ops.split(z, 4, axis=-1)
        i, f, g, o = recurrent(i), recurrent(f), activation(g), recurrent(o)
        y = activation(f * c + i * g)
        d_c = d_c + d_h * o * slope(y)
        d_i, d_f, d_g, d_o = d_c * g, d_c * c, d_c * i, d_h * y
        d_z = [
            d_i * recurrent_slope(i),
            d_f * recurrent_slope(f),
            d_g * slope(g),
            d_o * recurrent_slope(o),
        ]
        return ops.concatenate(d_z, axis=-1), d_c * f


def _state_gradient(d_gates, kernel):
    """Return the gradient of what `ops.conv(…, kernel, padding="same")` made gates of.

    A convolution with the kernel turned round. Its few filters would leave most of a CPU's vector
    idle, so it makes those of several columns at once, with a kernel as much wider.
    """
    height, width, filters, _ = kernel.shape
    H, W = d_gates.shape[1:3]
    columns = max(1, LANES // filters)
    turned = ops.transpose(ops.flip(kernel, (0, 1)), (0, 1, 3, 2))
    turned = [
        ops.pad(turned, ((0, 0), (column, columns - 1 - column), (0, 0), (0, 0)))
        for column in range(columns)
    ]
    # What "same" padded on the left and above is now padded on the right and below.
    groups = -(-W // columns)  # of columns
    below, right = (height - 1) // 2, (width - 1) // 2 + groups * columns - W
    padding = ((0, 0), (height - 1 - below, below), (width - 1 - (width - 1) // 2, right), (0, 0))
    d_h = ops.conv(ops.pad(d_gates, padding), ops.concatenate(turned, axis=-1), (1, columns))
    return ops.reshape(d_h, (-1, H, groups * columns, filters))[:, :, :W]


def _activation(function):
    """Return an activation and its slope by its value."""
    return ACTIVATIONS[keras.activations.serialize(function)]


ACTIVATIONS = {
    "linear": (lambda x: x, ops.ones_like),
    "relu": (ops.relu, lambda y: ops.cast(y > 0, y.dtype)),
    "tanh": (ops.tanh, lambda y: 1 - y * y),
    # By way of tanh, which XLA computes twice as fast.
    "sigmoid": (lambda x: 0.5 * ops.tanh(0.5 * x) + 0.5, lambda y: y * (1 - y)),
    "hard_sigmoid": (
        ops.hard_sigmoid,
        lambda y: ops.cast(ops.logical_and(y > 0, y < 1), y.dtype) / 6,
    ),
}


def fold(clips):
    """Fold time into the batch: (N, T, …) to (N·T, …)."""
    return ops.reshape(clips, (-1, *clips.shape[2:]))


def unfold(frames, n_frames: int):
    """Take time out of the batch: (N·T, …) to (N, T, …)."""
    return ops.reshape(frames, (-1, n_frames, *frames.shape[1:]))


def tile_maxima(x, sizes: tuple[int, ...], padding: str):
    """Return the largest number of each tile, as max-pooling does whose strides are its sizes.

    XLA's gradient of max-pooling scatters number by number. That of a maximum over axes is one pass
    over memory. Where numbers of a tile are equal they share it; pooling gives it to the first.

    Args:
        x: (N, …, C), with as many axes in between as there are sizes.
        sizes: of a tile.
        padding: `same`, incomplete tiles count, or `valid`.
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


@register
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization`, as one operation of TensorFlow each way.

    Keras runs a dozen, each a pass over memory: a quarter of a training step of the residual frame
    CNN on a CPU. Weights, arguments and results are those of Keras's layer. What one operation
    cannot do, masks say, and numbers of channels for which it is slow are left to Keras.

    Input and output: images (N, H, W, C) or clips (N, T, H, W, C).
    """

    def call(self, inputs, training=None, mask=None):
        """Normalise `inputs`."""
        fits = mask is None and self._fits(inputs)
        if keras.backend.backend() != "tensorflow" or not fits:
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        images = inputs
        if len(inputs.shape) == 5:
            images = ops.reshape(inputs, (-1, *inputs.shape[2:]))
        learns = bool(training and self.trainable)
        statistics = ([], []) if learns else (self.moving_mean, self.moving_variance)
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=images,
            scale=ops.convert_to_tensor(self.gamma),
            offset=ops.convert_to_tensor(self.beta),
            mean=ops.convert_to_tensor(statistics[0], "float32"),
            variance=ops.convert_to_tensor(statistics[1], "float32"),
            epsilon=self.epsilon,
            is_training=learns,
        )
        if learns:
            # What comes back is n / (n - 1) times the batch's variance, which Keras keeps.
            n = ops.cast(tf.size(images) / inputs.shape[-1], "float32")
            variance = variance * (n - 1) / n
            for moving, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + new * (1.0 - self.momentum))
        return y if images is inputs else ops.reshape(y, (-1, *inputs.shape[1:]))

    def _fits(self, inputs) -> bool:
        shape = inputs.shape
        last = self.axis in (-1, len(shape) - 1) and shape[-1] % CHANNELS == 0
        usual = self.scale and self.center and not (self.renorm or self.synchronized)
        known = len(shape) == 4 or (len(shape) == 5 and None not in shape[1:])
        floats = keras.backend.standardize_dtype(inputs.dtype) in ("float32", "bfloat16")
        return last and usual and known and floats and self.variable_dtype == "float32"


@register
class MaxPooling3D(keras.layers.MaxPooling3D):
    """`keras.layers.MaxPooling3D`, whose gradient is quick on JAX."""

    def call(self, inputs):
        """Pool `inputs`."""
        usual = self.data_format == "channels_last" and self.strides == self.pool_size
        if keras.backend.backend() != "jax" or not usual:
            return super().call(inputs)
        return tile_maxima(inputs, self.pool_size, self.padding)


@register
class PooledConv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D`, then `keras.layers.MaxPooling2D` whose strides are its sizes.

    The largest number of a tile is found before the bias is added and the activation computed.
    Neither changes which is the largest, so the result is the same with fewer numbers to move.

    Input: (N, H, W, C). Output: (N, ⌈H'/pool⌉, ⌈W'/pool⌉, filters); the convolution makes H' × W'.
    """

    def __init__(
        self, filters: int, kernel_size: int | tuple[int, int], pool_size: int, **kwargs
    ) -> None:
        super().__init__(filters, kernel_size, **kwargs)
        self.pool_size = pool_size
        name = keras.activations.serialize(self.activation)
        if not isinstance(name, str) or name not in ACTIVATIONS:
            raise ValueError(
                f"PooledConv2D expects an activation out of {', '.join(ACTIVATIONS)}, which never "
                f"fall. Received: {name}. Use Conv2D and MaxPooling2D for others."
            )
        if self.data_format != "channels_last":
            raise ValueError(
                f"PooledConv2D expects data_format='channels_last'. Received: {self.data_format}"
            )

    def call(self, inputs):
        """Convolve, pool, add the bias, activate."""
        x = self._maxima(inputs)
        if self.use_bias:
            x = x + ops.cast(self.bias, x.dtype)
        return self.activation(x)

    def _maxima(self, x):
        size = self.pool_size
        usual = max(*self.strides, *self.dilation_rate, self.groups) == 1
        whole = not any(n % size for n in self.convolved_shape(x.shape)[1:3])
        few = x.shape[-1] < space_to_depth.TENSOR_CORE
        if usual and whole and few and backend.on_gpu():
            kernel = ops.convert_to_tensor(self.kernel)
            x = space_to_depth.convolve(x, kernel, size, self.padding)
            return ops.max(ops.reshape(x, (*x.shape[:3], size * size, self.filters)), axis=3)
        x = self.convolution_op(x, self.kernel)
        if keras.backend.backend() == "jax":
            return tile_maxima(x, (size, size), "same")
        return ops.max_pool(x, size, padding="same")

    def convolved_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape before pooling."""
        return super().compute_output_shape(input_shape)

    def compute_output_shape(self, input_shape):
        """Return the shape after pooling."""
        N, H, W, C = self.convolved_shape(input_shape)
        return (N, -(-H // self.pool_size), -(-W // self.pool_size), C)

    def get_config(self):
        """Return what `__init__` takes."""
        return {**super().get_config(), "pool_size": self.pool_size}


@register
class FoldTime(keras.layers.Layer):
    """Fold time into the batch, (N, T, …) to (N·T, …), so that a layer of images takes clips.

    What `keras.layers.TimeDistributed` does with a loop over frames, as one larger batch.
    """

    def call(self, clips):
        """Fold `clips`."""
        return fold(clips)

    def compute_output_shape(self, input_shape):
        """(N, T, …) to (None, …)."""
        return (None, *input_shape[2:])


@register
class UnfoldTime(keras.layers.Layer):
    """Take `n_frames` time steps out of the batch, (N·T, …) to (N, T, …)."""

    def __init__(self, n_frames: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.n_frames = n_frames

    def call(self, frames):
        """Unfold `frames`."""
        return unfold(frames, self.n_frames)

    def compute_output_shape(self, input_shape):
        """(None, …) to (None, T, …)."""
        return (None, self.n_frames, *input_shape[1:])

    def get_config(self):
        """Return what `__init__` takes."""
        return {**super().get_config(), "n_frames": self.n_frames}


@register
class ShiftFeatures(keras.layers.Layer):
    """Give every frame an eighth of the features of the frame before, and of the one after.

    So that convolutions of images see how things move, at no cost (Lin et al., TSM: Temporal Shift
    Module, ICCV 2019). At the ends of a clip those features are 0.

    Input and output: (N·T, H, W, C), `n_frames` = T.
    """

    def __init__(self, n_frames: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.n_frames = n_frames

    def call(self, frames):
        """Shift `frames`."""
        if keras.backend.backend() == "tensorflow":
            return self._shift_with_kernels(frames)
        clips = unfold(frames, self.n_frames)
        part = clips.shape[-1] // 8
        still = ((0, 0), (0, 0), (0, 0))
        before = ops.pad(clips[:, :-1, ..., :part], ((0, 0), (1, 0), *still))
        after = ops.pad(clips[:, 1:, ..., part : 2 * part], ((0, 0), (0, 1), *still))
        return fold(ops.concatenate([before, after, clips[..., 2 * part :]], axis=-1))

    def _shift_with_kernels(self, frames):
        """Shift by a convolution along time of each feature by itself, there and back.

        TensorFlow's slices, and their gradients most of all, are several slow passes over memory.
        """
        H, W, C = frames.shape[1:]
        part = C // 8
        kernel = np.zeros((3, 1, C, 1))
        kernel[1, :, 2 * part :] = 1
        kernel[0, :, :part] = 1
        kernel[2, :, part : 2 * part] = 1

        def shift(x, kernel):
            clips = ops.reshape(x, (-1, self.n_frames, H * W, C))
            kernel = ops.convert_to_tensor(kernel, x.dtype)
            return ops.reshape(ops.depthwise_conv(clips, kernel, padding="same"), (-1, H, W, C))

        @ops.custom_gradient
        def with_gradient(x):
            return shift(x, kernel), lambda upstream: shift(upstream, kernel[::-1])

        return with_gradient(frames)

    def compute_output_shape(self, input_shape):
        """Return the shape of the input."""
        return input_shape

    def get_config(self):
        """Return what `__init__` takes."""
        return {**super().get_config(), "n_frames": self.n_frames}
