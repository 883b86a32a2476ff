"""What Keras lacks: a fused ConvLSTM2D, frame-wise folding, augmentation of whole clips."""

import har.backend  # noqa: F401 (Keras is to load quietly, so this comes first)

# isort: split
import keras
from keras import ops

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
                "har.layers.ConvLSTM2D expects the defaults of dropout, go_backwards, unroll and "
                f"data_format. Received: other values of {', '.join(refused)}. "
                "Use keras.layers.ConvLSTM2D for these."
            )

    def inner_loop(self, sequences, initial_state, mask, training=False):
        """Run the recurrence; called by Keras's `RNN.call`."""
        if mask is not None:
            raise ValueError(
                "har.layers.ConvLSTM2D expects clips without a mask. Received: a mask. "
                "Give every clip the same number of frames."
            )
        cell = self.cell
        frames = fold(sequences)
        gates = ops.conv(
            frames, cell.kernel, cell.strides, cell.padding, dilation_rate=cell.dilation_rate
        )
        if cell.use_bias:
            gates = gates + cell.bias
        gates = ops.transpose(unfold(gates, sequences.shape[1]), (1, 0, 2, 3, 4))
        h, c = initial_state
        keep = None
        if training and cell.recurrent_dropout:
            keep = keras.random.dropout(
                ops.ones_like(h), cell.recurrent_dropout, seed=cell.seed_generator
            )

        def step(state, from_input):
            h, c = state
            h = h if keep is None else h * keep
            from_state = ops.conv(h, cell.recurrent_kernel, padding="same")
            i, f, g, o = ops.split(from_input + from_state, 4, axis=-1)
            c = cell.recurrent_activation(f) * c + cell.recurrent_activation(i) * cell.activation(g)
            h = cell.recurrent_activation(o) * cell.activation(c)
            return (h, c), (h, c)

        (h, c), (sequence, _) = ops.scan(step, (h, c), gates)
        return h, ops.transpose(sequence, (1, 0, 2, 3, 4)), [h, c]


def fold(clips):
    """Fold time into the batch: (N, T, …) to (N·T, …)."""
    return ops.reshape(clips, (-1, *clips.shape[2:]))


def unfold(frames, n_frames: int):
    """Take time out of the batch: (N·T, …) to (N, T, …)."""
    return ops.reshape(frames, (-1, n_frames, *frames.shape[1:]))


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
class AugmentClip(keras.layers.Layer):
    """Change training clips at random, each clip in one way for all its frames.

    Mirroring, scaling and shifting together are one resampling along the height and one along
    the width: each a product with an interpolation matrix a clip (bilinear, edges repeated), so
    they run fast on any backend and device.

    Args:
        flip: mirror left and right, half of the clips.
        zoom: scale between 1 - zoom and 1 + zoom.
        shift: move by up to this part of the height and of the width.
        brightness: add up to this part of the full range.
        contrast: multiply the distance from the clip's mean by 1 - contrast to 1 + contrast.
        seed: of the random draws.

    Input and output: (N, T, H, W, C) float in [0, 1]. Unchanged outside of training.
    """

    def __init__(
        self,
        flip: bool = True,
        zoom: float = 0.0,
        shift: float = 0.0,
        brightness: float = 0.0,
        contrast: float = 0.0,
        seed: int | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.flip, self.zoom, self.shift = flip, zoom, shift
        self.brightness, self.contrast, self.seed = brightness, contrast, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, clips, training=False):
        """Return `clips`, changed in training."""
        if not training:
            return clips
        N = ops.shape(clips)[0]
        if self.flip or self.zoom or self.shift:
            scale = 1.0 + self._draw(N, self.zoom)
            side = ops.where(self._draw(N, 1.0) < 0, -1.0, 1.0) if self.flip else 1.0
            rows = self._resampling(clips.shape[2], scale, self._draw(N, self.shift))
            columns = self._resampling(clips.shape[3], scale * side, self._draw(N, self.shift))
            clips = self._resample(clips, rows, columns)
        if self.contrast:
            factor = self._per_clip(1.0 + self._draw(N, self.contrast))
            mean = ops.mean(clips, axis=(1, 2, 3, 4), keepdims=True)
            clips = (clips - mean) * factor + mean
        if self.brightness:
            clips = clips + self._per_clip(self._draw(N, self.brightness))
        return ops.clip(clips, 0.0, 1.0) if self.contrast or self.brightness else clips

    def _draw(self, n, reach: float):
        """Draw (n,) float32 values, uniform in [-reach, reach)."""
        return keras.random.uniform((n,), -reach, reach, dtype="float32", seed=self.seed_generator)

    def _per_clip(self, values):
        return ops.cast(ops.reshape(values, (-1, 1, 1, 1, 1)), self.compute_dtype)

    def _resampling(self, length: int, scale, shift):
        """Return (N, length, length): the weight of each old place (last axis) at each new one."""
        # In float32 whatever the precision: 16 bits cannot tell the pixels of a wide clip apart.
        pixels = ops.arange(length, dtype="float32")
        place = pixels - (length - 1) / 2
        centre = (length - 1) / 2 + shift * length
        old = place[None, :] / scale[:, None] + centre[:, None]
        old = ops.clip(old, 0, length - 1)
        return ops.cast(ops.relu(1.0 - ops.abs(old[:, :, None] - pixels)), self.compute_dtype)

    @staticmethod
    def _resample(clips, rows, columns):
        _, T, H, W, C = clips.shape
        # (N, T, H, W·C) with rows in front; then (N, T·H, W, C) with columns in front.
        tall = ops.matmul(rows[:, None], ops.reshape(clips, (-1, T, H, W * C)))
        wide = ops.matmul(columns[:, None], ops.reshape(tall, (-1, T * H, W, C)))
        return ops.reshape(wide, (-1, T, H, W, C))

    def compute_output_shape(self, input_shape):
        """Return the shape of the input."""
        return input_shape

    def get_config(self):
        """Return what `__init__` takes."""
        names = ("flip", "zoom", "shift", "brightness", "contrast", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
