"""A ConvLSTM2D with several times fewer and larger convolutions than Keras's."""

import keras
from keras import ops

from har.nn import backend
from har.nn.time_folding import fold

UNROLL = 5  # time steps in one round of a GPU's loop, which copies its state every round
LANES = 16  # float32 numbers in a vector of AVX-512


@keras.saving.register_keras_serializable("har")
class ConvLSTM2D(keras.layers.ConvLSTM2D):
    """`keras.layers.ConvLSTM2D`, Shi et al. (NeurIPS 2015), with fewer and larger convolutions.

    Keras runs eight a time step. Here the input's gates of all steps are one convolution before
    the loop, and the state's gates one a step. Weights and results are those of Keras's layer, but
    `recurrent_dropout` draws one mask a clip for all gates, and some arguments are refused.

    Input: (N, T, H, W, C). Output: (N, T, H', W', filters) with `return_sequences`, else
    (N, H', W', filters).
    """

    def __init__(self, filters: int, kernel_size: int | tuple[int, int], **kwargs) -> None:
        super().__init__(filters, kernel_size, **kwargs)
        refused = [name for name in ("dropout", "go_backwards", "unroll") if getattr(self, name)]
        if self.data_format != "channels_last":
            refused.append("data_format")
        if self.activation is not keras.activations.tanh:
            refused.append("activation")
        if self.recurrent_activation is not keras.activations.sigmoid:
            refused.append("recurrent_activation")
        if refused:
            raise ValueError(
                "har's ConvLSTM2D expects the defaults of dropout, go_backwards, unroll, "
                f"data_format and activations. Received: other values of {', '.join(refused)}. "
                "Use keras.layers.ConvLSTM2D for these."
            )

    def inner_loop(self, sequences, initial_state, mask, training=False):  # noqa: D102
        if mask is not None:
            raise ValueError(
                "har's ConvLSTM2D expects clips without a mask. Received: a mask. "
                "Give every clip the same number of frames."
            )
        cell = self.cell
        T = sequences.shape[1]
        h, c = initial_state
        # With time first, the gates of a step are contiguous in memory.
        frames = fold(ops.transpose(sequences, (1, 0, 2, 3, 4)))
        recurrent_kernel = ops.convert_to_tensor(cell.recurrent_kernel)
        gates = ops.conv(
            frames, cell.kernel, cell.strides, cell.padding, dilation_rate=cell.dilation_rate
        )
        if cell.use_bias:
            gates = gates + cell.bias
        gates = ops.reshape(gates, (T, -1, *gates.shape[1:]))
        keep = None
        if training and cell.recurrent_dropout:
            keep = keras.random.dropout(
                ops.ones_like(h), cell.recurrent_dropout, seed=cell.seed_generator
            )
        states, c = self._recur(gates, recurrent_kernel, h, c, keep)
        return states[-1], ops.transpose(states, (1, 0, 2, 3, 4)), [states[-1], c]

    def _recur(self, gates, kernel, h, c, keep):
        # The gradient is written out: the loop back through time then holds only what a step needs
        # of the next one, and the kernel's gradient is one convolution over all steps.
        steps = ops.arange(gates.shape[0])
        forward, backward = backend.fused(_forward), backend.fused(_backward)

        def drop(h):
            return h if keep is None else h * keep

        def step(state, t):
            h, c = state[:2]
            z = constant_gates[t] + ops.conv(drop(h), constant_kernel, padding="same")
            h, c_next = forward(z, c)
            return (h, c_next, z)[:carried], (h, c, z)

        constant_gates, constant_kernel, h0, c0 = map(ops.stop_gradient, (gates, kernel, h, c))
        # TensorFlow's `ops.scan` needs outputs of the state's shape. JAX would copy all of it.
        carried = 3 if keras.backend.backend() == "tensorflow" else 2
        unroll = UNROLL if backend.on_gpu() else 1
        start = (h0, c0, ops.zeros_like(constant_gates[0]))[:carried]
        (_, c_last, *_), (states, cs, zs) = ops.scan(step, start, steps, unroll=unroll)
        # Only the kernel's gradient uses this; nothing reads its value, so it is never computed.
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


def _sigmoid(x):
    return 0.5 * ops.tanh(0.5 * x) + 0.5  # XLA computes tanh twice as fast


def _forward(z, c):
    i, f, g, o = ops.split(z, 4, axis=-1)
    c = _sigmoid(f) * c + _sigmoid(i) * ops.tanh(g)
    return _sigmoid(o) * ops.tanh(c), c


def _backward(z, c, d_h, d_c):
    # The gradients of z and of c, the memory before the step.
    i, f, g, o = ops.split(z, 4, axis=-1)
    i, f, g, o = _sigmoid(i), _sigmoid(f), ops.tanh(g), _sigmoid(o)
    y = ops.tanh(f * c + i * g)
    d_c = d_c + d_h * o * (1 - y * y)
    d_i, d_f, d_g, d_o = d_c * g, d_c * c, d_c * i, d_h * y
    d_i, d_f, d_o = d_i * (i * (1 - i)), d_f * (f * (1 - f)), d_o * (o * (1 - o))
    return ops.concatenate([d_i, d_f, d_g * (1 - g * g), d_o], axis=-1), d_c * f


def _state_gradient(d_gates, kernel):
    # For gates = ops.conv(h, kernel, padding="same"): a convolution with the flipped kernel. Few
    # filters leave a CPU's vector mostly idle, so a wider kernel computes several columns at once.
    height, width, filters, _ = kernel.shape
    H, W = d_gates.shape[1:3]
    columns = max(1, LANES // filters)
    turned = ops.transpose(ops.flip(kernel, (0, 1)), (0, 1, 3, 2))
    turned = [
        ops.pad(turned, ((0, 0), (column, columns - 1 - column), (0, 0), (0, 0)))
        for column in range(columns)
    ]
    # "same" pads above and left first; the gradient pads below and right first.
    groups = -(-W // columns)  # of columns, rounded up
    below, right = (height - 1) // 2, (width - 1) // 2 + groups * columns - W
    padding = ((0, 0), (height - 1 - below, below), (width - 1 - (width - 1) // 2, right), (0, 0))
    d_h = ops.conv(ops.pad(d_gates, padding), ops.concatenate(turned, axis=-1), (1, columns))
    return ops.reshape(d_h, (-1, H, groups * columns, filters))[:, :, :W]
