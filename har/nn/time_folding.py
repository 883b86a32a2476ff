"""Time folded into the batch, so that layers of images take clips, and out of it."""
# ruff: noqa: D102 (methods that Keras calls and documents)

import keras
import numpy as np
from keras import ops


def fold(clips):
    """Fold time into the batch: (N, T, …) to (N·T, …)."""
    return ops.reshape(clips, (-1, *clips.shape[2:]))


def unfold(frames, n_frames: int):
    """Take time out of the batch: (N·T, …) to (N, T, …)."""
    return ops.reshape(frames, (-1, n_frames, *frames.shape[1:]))


@keras.saving.register_keras_serializable("har")
class FoldTime(keras.layers.Layer):
    """Fold time into the batch, (N, T, …) to (N·T, …); `TimeDistributed` loops over frames."""

    def call(self, clips):
        return fold(clips)

    def compute_output_shape(self, input_shape):
        return (None, *input_shape[2:])


@keras.saving.register_keras_serializable("har")
class UnfoldTime(keras.layers.Layer):
    """Take `n_frames` time steps out of the batch, (N·T, …) to (N, T, …)."""

    def __init__(self, n_frames: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.n_frames = n_frames

    def call(self, frames):
        return unfold(frames, self.n_frames)

    def compute_output_shape(self, input_shape):
        return (None, self.n_frames, *input_shape[1:])


@keras.saving.register_keras_serializable("har")
class ShiftFeatures(keras.layers.Layer):
    """Replace an eighth of a frame's features by the previous frame's and an eighth by the next's.

    Lin et al., TSM: Temporal Shift Module (ICCV 2019). At the ends of a clip those features are 0.

    Input and output: (N·T, H, W, C), `n_frames` = T.
    """

    def __init__(self, n_frames: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.n_frames = n_frames

    def call(self, frames):
        if keras.backend.backend() == "tensorflow":
            return self._shift_with_kernels(frames)
        clips = unfold(frames, self.n_frames)
        part = clips.shape[-1] // 8
        still = ((0, 0), (0, 0), (0, 0))
        before = ops.pad(clips[:, :-1, ..., :part], ((0, 0), (1, 0), *still))
        after = ops.pad(clips[:, 1:, ..., part : 2 * part], ((0, 0), (0, 1), *still))
        return fold(ops.concatenate([before, after, clips[..., 2 * part :]], axis=-1))

    def _shift_with_kernels(self, frames):
        # A depth-wise convolution along time: TensorFlow's slices, and above all their gradients,
        # are several slow passes over memory.
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
        return input_shape
