"""From stored clips to a network's input, as layers that are saved with the model."""
# ruff: noqa: D102 (methods that Keras calls and documents)

import keras
from keras import ops

WAYS_TO_DRAW = ("segments", "window", "middle")

register = keras.saving.register_keras_serializable("har")


@register
class DrawFrames(keras.layers.Layer):
    """Draw `count` of the stored frames of a clip, in one of three ways.

    - `segments`: one random frame of each of `count` equal segments (Wang et al., Temporal Segment
      Networks, ECCV 2016). Outside of training view i is the frames i of all segments.
    - `window`: a random window of neighbouring frames. Outside of training each window is a view.
    - `middle`: the middle frame of each segment, in training too; one view.

    Outside of training all views go on as clips of their own: `AverageViews` has to follow.

    Input: (N, count·V, …). Output: (N, count, …), or (N·V, count, …) outside of training.
    """

    def __init__(
        self, count: int, how: str = "segments", seed: int | None = None, **kwargs
    ) -> None:
        super().__init__(**kwargs)
        if how not in WAYS_TO_DRAW:
            raise ValueError(
                f"DrawFrames expects how to be one of {', '.join(WAYS_TO_DRAW)}. Received: {how}"
            )
        self.count, self.how, self.seed = count, how, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, clips, training=False):
        stored, rest = clips.shape[1], clips.shape[2:]
        V = stored // self.count
        if self.how == "middle":
            return clips[:, V // 2 :: V]
        if not training:
            if self.how == "segments":
                clips = ops.reshape(clips, (-1, self.count, V, *rest))
                clips = ops.transpose(clips, (0, 2, 1, *range(3, 3 + len(rest))))
            return ops.reshape(clips, (-1, self.count, *rest))
        N = ops.shape(clips)[0]
        if self.how == "window":
            place = self._draw((N, 1), stored - self.count + 1) + ops.arange(self.count)
        else:
            place = self._draw((N, self.count), V) + V * ops.arange(self.count)
        place = place + stored * ops.arange(N)[:, None]
        return ops.take(ops.reshape(clips, (-1, *rest)), place, axis=0)

    def _draw(self, shape, below: int):
        drawn = keras.random.uniform(shape, 0, below, "float32", self.seed_generator)
        return ops.minimum(ops.cast(drawn, "int32"), below - 1)

    def compute_output_shape(self, input_shape):
        # JAX cannot multiply an unknown number of clips.
        return (None, self.count, *input_shape[2:])

    def get_config(self):
        own = {"count": self.count, "how": self.how, "seed": self.seed}
        return {**super().get_config(), **own}


@register
class AverageViews(keras.layers.Layer):
    """Average the predictions over a clip's views, (N·V, C) to (N, C); unchanged in training."""

    def __init__(self, views: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.views = views

    def call(self, values, training=False):
        if training:
            return values
        return ops.mean(ops.reshape(values, (-1, self.views, values.shape[-1])), axis=1)

    def compute_output_shape(self, input_shape):
        # JAX cannot divide an unknown number of clips.
        return (None, *input_shape[1:])


@register
class Motion(keras.layers.Layer):
    """Differences of neighbouring frames, each divided by its own root mean square.

    Movement remains; the background and the strength of the light do not (Wang et al., Temporal
    Segment Networks, ECCV 2016).

    Input: (N, T, H, W, C) float in [0, 1]. Output: (N, T - 1, H, W, C).
    """

    def call(self, clips):
        change = clips[:, 1:] - clips[:, :-1]
        # float32: small squares vanish in 16 bits. 0.01 keeps still clips from becoming noise.
        power = ops.mean(ops.square(ops.cast(change, "float32")), axis=(2, 3, 4), keepdims=True)
        return change / ops.cast(ops.sqrt(power) + 0.01, change.dtype)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[1] - 1, *input_shape[2:])


@register
class AugmentClip(keras.layers.Layer):
    """Augment training clips at random; all frames of a clip change in the same way.

    params.yaml says what each argument does. Resampling is bilinear and repeats edges. Contrast is
    the distance from the clip's mean, saturation that from grey.

    Input and output: (N, T, H, W, 3) float in [0, 1]. Unchanged outside of training.
    """

    def __init__(
        self,
        flip: bool = True,
        zoom: float = 0.0,
        shift: float = 0.0,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        tint: float = 0.0,
        shuffle: float = 0.0,
        grey: float = 0.0,
        seed: int | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.flip, self.zoom, self.shift = flip, zoom, shift
        self.brightness, self.contrast, self.saturation = brightness, contrast, saturation
        self.tint, self.shuffle, self.grey, self.seed = tint, shuffle, grey, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, clips, training=False):
        if not training:
            return clips
        N = ops.shape(clips)[0]
        if self.flip or self.zoom or self.shift:
            scale = 1.0 + self._draw(N, self.zoom)
            side = ops.where(self._draw(N, 1.0) < 0, -1.0, 1.0) if self.flip else 1.0
            rows = self._resampling(clips.shape[2], scale, self._draw(N, self.shift))
            columns = self._resampling(clips.shape[3], scale * side, self._draw(N, self.shift))
            clips = self._resample(clips, rows, columns)
        ranges = self.brightness, self.contrast
        if any((self.saturation, self.tint, self.shuffle, self.grey, *ranges)):
            clips = self._recolour(clips, N)
        return clips

    def _draw(self, n, reach: float, *shape: int):
        return keras.random.uniform((n, *shape), -reach, reach, "float32", self.seed_generator)

    def _happens(self, n, part: float):
        return self._draw(n, 0.5, 1, 1) + 0.5 < part

    def _recolour(self, clips, n):
        # All changes of colour together are one product with a 3 × 3 matrix.
        colours = ops.tile(ops.eye(3)[None], (n, 1, 1))
        if self.shuffle:
            order = ops.one_hot(ops.argsort(self._draw(n, 1.0, 3), axis=-1), 3, dtype="float32")
            colours = ops.where(self._happens(n, self.shuffle), order, colours)
        if self.tint:
            colours = colours * (1.0 + self._draw(n, self.tint, 1, 3))
        if self.saturation or self.grey:
            saturation = 1.0 + self._draw(n, self.saturation, 1, 1)
            saturation = ops.where(self._happens(n, self.grey), 0.0, saturation)
            grey = ops.mean(colours, axis=-1, keepdims=True)
            colours = saturation * colours + (1.0 - saturation) * grey
        offset = ops.zeros((n, 1, 1))
        if self.brightness or self.contrast:
            mean = ops.mean(ops.cast(clips, "float32"), axis=(1, 2, 3))[:, None]
            mean = ops.mean(ops.matmul(mean, colours), axis=-1, keepdims=True)
            contrast = 1.0 + self._draw(n, self.contrast, 1, 1)
            colours = colours * contrast
            offset = mean * (1.0 - contrast) + self._draw(n, self.brightness, 1, 1)
        flat = ops.reshape(clips, (n, -1, 3))
        flat = ops.matmul(flat, ops.cast(colours, flat.dtype)) + ops.cast(offset, flat.dtype)
        return ops.reshape(ops.clip(flat, 0.0, 1.0), (n, *clips.shape[1:]))

    def _resampling(self, length: int, scale, shift):
        # (N, length, length): the weight of each old pixel (last axis) at each new one.
        # float32 in every precision: 16 bits cannot tell the pixels of a wide clip apart.
        pixels = ops.arange(length, dtype="float32")
        place = pixels - (length - 1) / 2
        centre = (length - 1) / 2 + shift * length
        old = ops.clip(place[None, :] / scale[:, None] + centre[:, None], 0, length - 1)
        return ops.cast(ops.relu(1.0 - ops.abs(old[:, :, None] - pixels)), self.compute_dtype)

    @staticmethod
    def _resample(clips, rows, columns):
        _, T, H, W, C = clips.shape
        tall = ops.matmul(rows[:, None], ops.reshape(clips, (-1, T, H, W * C)))
        # One large product over all channels is twice as fast as one for each channel.
        one = ops.eye(C, dtype=columns.dtype)
        columns = ops.einsum("nij,cd->njcid", columns, one)
        wide = ops.matmul(
            ops.reshape(tall, (-1, T * H, W * C)), ops.reshape(columns, (-1, W * C, W * C))
        )
        return ops.reshape(wide, (-1, T, H, W, C))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        names = ["flip", "zoom", "shift", "brightness", "contrast", "saturation", "tint"]
        names += ["shuffle", "grey", "seed"]
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
