"""A network in two, such as LRCN: a part that sees a frame or two, and a head over a window."""

from collections.abc import Callable

import keras
import numpy as np

from har.nn.layers import UnfoldTime
from har.nn.preprocessing import DrawFrames

_TOLERANCE = 1e-4  # of the largest feature


class NoFramePartError(Exception):
    """The network cannot be fed frame by frame; the message is the reason."""


class FramePart:
    """The two parts of a network, which share its weights.

    Attributes:
        context: frames behind one vector of features: 1, or 2 where the network sees motion.
        spacing: places in a clip from one frame of a context to the next.
        places: int64 (V, t): of V views, the newest frames behind the features of the head.
        features_model: from uint8 (N, context, H, W, 3) RGB to features (N, …).
        head_model: from features (N·V, t, …) to probabilities (N, C).
    """

    def __init__(self, model: keras.Model) -> None:
        """Cut `model` where time is unfolded, and check that the parts make the whole.

        A `NoFramePartError` says why that cannot be.
        """
        unfolds = [layer for layer in model.layers if isinstance(layer, UnfoldTime)]
        if len(unfolds) != 1:
            raise NoFramePartError("it has no part that sees a frame or two at a time")
        drawn = _drawn_places(model)
        clip = np.random.default_rng(0).integers(0, 256, model.input.shape[1:], np.uint8)
        # Features tell what a confident network's probabilities hide.
        whole = np.asarray(keras.Model(model.input, unfolds[0].output)(clip[None], training=False))
        self.head_model = keras.Model(unfolds[0].output, model.output)
        reason = ""
        for self.context in (1, 2):
            self.places = drawn[:, self.context - 1 :]
            self.spacing = int(drawn[0, 1] - drawn[0, 0]) if drawn.shape[1] > 1 else 1
            try:
                self.features_model = _features_model(model, unfolds[0], self.context)
                parts = self._together(clip)
                reason = "the features of a frame depend on more than one neighbour"
            # Keras and its backends do not document what they raise for a graph that cannot be cut.
            except Exception as problem:
                line = (str(problem).strip() or type(problem).__name__).splitlines()[0]
                reason = f"its layers take no frame by itself ({line})"
                continue
            if parts.shape == whole.shape and np.allclose(
                parts, whole, rtol=0, atol=_TOLERANCE * np.abs(whole).max()
            ):
                break
        else:
            raise NoFramePartError(reason)
        # XLA makes one operation of the loop over frames, else most of the time of an answer.
        shape = (1, *self.features_model.input.shape[1:])
        self._features = _compiled(self.features_model, shape, "uint8", xla=False)
        shape = (len(self.places), *self.head_model.input.shape[1:])
        self._head = _compiled(self.head_model, shape, "float32", xla=True)

    def features(self, frames: np.ndarray) -> np.ndarray:
        """Return the features of a frame and its context, uint8 (context, H, W, 3) RGB."""
        return self._features(frames[None])[0]

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Return the class probabilities, float64 (C,), of features at `places`, (V, t, …)."""
        row = self._head(features)[0].astype(np.float64)
        return row / row.sum()

    def _together(self, clip: np.ndarray) -> np.ndarray:
        back = self.spacing * np.arange(self.context - 1, -1, -1)
        contexts = clip[self.places.reshape(-1, 1) - back]
        # Backwards: layers that take neighbours in the batch for neighbours in time show.
        features = np.asarray(self.features_model(contexts[::-1], training=False))[::-1]
        return features.reshape(*self.places.shape, *features.shape[1:])


def _drawn_places(model: keras.Model) -> np.ndarray:
    places = np.arange(model.input.shape[1])[None]
    for layer in model.layers:
        if isinstance(layer, DrawFrames):
            places = np.asarray(layer(places[..., None], training=False))[..., 0]
    steps = np.diff(places, axis=1)
    if steps.size and (steps != steps[0, 0]).any():
        raise NoFramePartError("it draws frames that are not evenly spaced")
    return places.astype(np.int64)


def _features_model(model: keras.Model, unfold: keras.Layer, context: int) -> keras.Model:
    return keras.models.clone_model(
        keras.Model(model.input, unfold.input),
        input_tensors=keras.Input((context, *model.input.shape[2:]), dtype="uint8"),
        clone_function=lambda x: keras.layers.Identity() if isinstance(x, DrawFrames) else x,
    )


def _compiled(
    model: keras.Model, shape: tuple[int, ...], dtype: str, *, xla: bool
) -> Callable[[np.ndarray], np.ndarray]:
    # Several times faster to call than Keras's own function.
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        traced = tf.function(
            lambda x: model(x, training=False),
            jit_compile=xla,
            input_signature=[tf.TensorSpec(shape, dtype)],
        )
        return lambda x: traced(x).numpy()
    return model.predict_on_batch
