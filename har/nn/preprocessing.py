"""From stored clips to a network's input: draw frames, augment them, take differences.

These are layers: they run on the device that trains and are saved with the model, so prediction
cannot differ from training.
"""

import keras
from keras import ops

STRENGTHS = (
    *("flip", "zoom", "shift", "brightness", "contrast"),
    *("saturation", "tint", "shuffle", "grey"),
)

WAYS_TO_DRAW = ("segments", "window", "middle")

register = keras.saving.register_keras_serializable("har")


@register
class DrawFrames(keras.layers.Layer):
    """Draw `count` of the stored frames of a clip, in one of three ways.

    - `segments`: the clip is cut into `count` equal segments, and training draws one frame of
      each at random (Wang et al., Temporal Segment Networks, ECCV 2016). Outside of training the
      first frames of all segments are one view, the second frames another, and so on.
    - `window`: training draws a window of neighbouring frames at random, so that frames are close
      in time. Outside of training every window of the clip is one view.
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
        """Return the drawn frames."""
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
        """Draw whole numbers from 0 to `below` - 1."""
        drawn = keras.random.uniform(shape, 0, below, "float32", self.seed_generator)
        return ops.minimum(ops.cast(drawn, "int32"), below - 1)

    def compute_output_shape(self, input_shape):
        """Return (None, count, …): JAX cannot multiply an unknown number of clips."""
        return (None, self.count, *input_shape[2:])

    def get_config(self):
        """Return what `__init__` takes."""
        own = {"count": self.count, "how": self.how, "seed": self.seed}
        return {**super().get_config(), **own}


@register
class AverageViews(keras.layers.Layer):
    """Average the predictions over a clip's views, (N·V, C) to (N, C); unchanged in training."""

    def __init__(self, views: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.views = views

    def call(self, values, training=False):
        """Return the average over views."""
        if training:
            return values
        return ops.mean(ops.reshape(values, (-1, self.views, values.shape[-1])), axis=1)

    def compute_output_shape(self, input_shape):
        """Return (None, C): JAX cannot divide an unknown number of clips."""
        return (None, *input_shape[1:])

    def get_config(self):
        """Return what `__init__` takes."""
        return {**super().get_config(), "views": self.views}


@register
class Motion(keras.layers.Layer):
    """Differences of neighbouring frames, each divided by its own root mean square.

    Movement remains; the background and the strength of the light do not. Trained from scratch on
    few clips, a network of motion learns far more than one of pixels: 0.81 against 0.52 on UCF101
    with optical flow (Simonyan & Zisserman, Two-Stream Convolutional Networks, NeurIPS 2014).
    Differences are its cheap form (Wang et al., Temporal Segment Networks, ECCV 2016).

    Input: (N, T, H, W, C) float in [0, 1]. Output: (N, T - 1, H, W, C).
    """

    def call(self, clips):
        """Return the differences."""
        change = clips[:, 1:] - clips[:, :-1]
        # float32: small squares vanish in 16 bits. 0.01 keeps still clips from becoming noise.
        power = ops.mean(ops.square(ops.cast(change, "float32")), axis=(2, 3, 4), keepdims=True)
        return change / ops.cast(ops.sqrt(power) + 0.01, change.dtype)

    def compute_output_shape(self, input_shape):
        """(N, T, …) to (N, T - 1, …)."""
        return (input_shape[0], input_shape[1] - 1, *input_shape[2:])


@register
class AugmentClip(keras.layers.Layer):
    """Augment training clips at random; all frames of a clip change in the same way.

    Mirroring, scaling and shifting together are one resampling along the height and one along
    the width, each a product with a matrix (bilinear, edges repeated). All changes of colour
    together are one product with a 3 × 3 matrix. This is fast on every backend and device.

    Args:
        flip: mirror left and right, half of the clips.
        zoom: scale between 1 - zoom and 1 + zoom.
        shift: largest movement, as a part of the height and of the width.
        brightness: largest addition, as a part of the full range.
        contrast: multiply the distance from the clip's mean by 1 - contrast to 1 + contrast.
        saturation: multiply the distance from grey by 1 - saturation to 1 + saturation.
        tint: multiply each channel by 1 - tint to 1 + tint.
        shuffle: part of the clips whose channels change places.
        grey: part of the clips that become grey.
        seed: seed of the random draws.

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
        if any((self.saturation, self.tint, self.shuffle, self.grey)) or self._range_changes():
            clips = self._recolour(clips, N)
        return clips

    def _range_changes(self) -> bool:
        return bool(self.brightness or self.contrast)

    def _draw(self, n, reach: float, *shape: int):
        """Draw (n, …) float32 values, uniform in [-reach, reach)."""
        return keras.random.uniform(
            (n, *shape), -reach, reach, dtype="float32", seed=self.seed_generator
        )

    def _happens(self, n, part: float):
        """Draw (n, 1, 1) booleans, true with probability `part`."""
        return self._draw(n, 0.5, 1, 1) + 0.5 < part

    def _recolour(self, clips, n):
        """Multiply colours by a matrix a clip, then set contrast and brightness."""
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
        if self._range_changes():
            mean = ops.mean(ops.cast(clips, "float32"), axis=(1, 2, 3))[:, None]
            mean = ops.mean(ops.matmul(mean, colours), axis=-1, keepdims=True)
            contrast = 1.0 + self._draw(n, self.contrast, 1, 1)
            colours = colours * contrast
            offset = mean * (1.0 - contrast) + self._draw(n, self.brightness, 1, 1)
        flat = ops.reshape(clips, (n, -1, 3))
        flat = ops.matmul(flat, ops.cast(colours, flat.dtype)) + ops.cast(offset, flat.dtype)
        return ops.reshape(ops.clip(flat, 0.0, 1.0), (n, *clips.shape[1:]))

    def _resampling(self, length: int, scale, shift):
        """Return (N, length, length): the weight of each old pixel (last axis) at each new one."""
        # float32 in every precision: 16 bits cannot tell the pixels of a wide clip apart.
        pixels = ops.arange(length, dtype="float32")
        place = pixels - (length - 1) / 2
        centre = (length - 1) / 2 + shift * length
        old = place[None, :] / scale[:, None] + centre[:, None]
        old = ops.clip(old, 0, length - 1)
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
        """Return the shape of the input."""
        return input_shape

    def get_config(self):
        """Return what `__init__` takes."""
        own = {name: getattr(self, name) for name in (*STRENGTHS, "seed")}
        return {**super().get_config(), **own}
