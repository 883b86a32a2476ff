"""Batch normalisation as one operation of TensorFlow."""

import keras
from keras import ops

# Channels come in multiples of it: for 17 oneDNN takes seven times as long as for 16.
CHANNELS = 8


@keras.saving.register_keras_serializable("har")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` as one operation of TensorFlow in each direction.

    Keras's dozen operations are a quarter of a training step of the residual frame CNN on a CPU.
    Keras still does what the one operation cannot or does slowly.

    Input and output: images (N, H, W, C) or clips (N, T, H, W, C).
    """

    def call(self, inputs, training=None, mask=None):  # noqa: D102
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
            # The operation returns n / (n - 1) times the variance, which Keras keeps.
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
