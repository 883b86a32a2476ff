"""The front and the end that networks of frames share."""

from har.nn.backend import keras
from har.nn.preprocessing import AugmentClip, AverageViews, DrawFrames, Motion
from har.params import TrainParams

layers = keras.layers


def clip_input(shape: tuple[int, int, int], train: TrainParams, seed: int, see: str = "pixels"):
    """Return the input and the first tensor of a network.

    Args:
        shape: (T, H, W) of a stored clip.
        train: `frames` and `draw`, what is drawn of a clip; `augment`, random changes in
            training; `centre`.
        seed: of what is random.
        see: `pixels`; `motion`, differences of neighbouring frames, one fewer than frames; or
            `both`, pixels and how they came about, in six channels.

    Returns:
        The input, (N, T, H, W, 3) uint8 RGB, and (N, t, H, W, C) float: pixels from -1 to 1 where
        `centre`, else from 0 to 1. Outside of training N may be a multiple: see `DrawFrames`.
    """
    clips = keras.Input((*shape, 3), dtype="uint8", name="clips")
    x = clips
    if shape[0] > train.frames:
        x = DrawFrames(train.frames, train.draw, seed=seed, name="draw")(x)
    x = layers.Rescaling(1 / 255, name="rescale")(x)
    if train.augment is not None:
        x = AugmentClip(**train.augment.model_dump(), seed=seed, name="augment")(x)
    motion = Motion(name="motion")(x) if see != "pixels" else None
    if see == "motion":
        return clips, motion
    if train.centre:
        x = layers.Rescaling(2, offset=-1, name="centre")(x)
    if see == "both":
        x = layers.Concatenate(name="both")([x[:, 1:], motion])
    return clips, x


def classes_of(x, n_classes: int, shape: tuple[int, int, int], train: TrainParams):
    """Return class probabilities, (N, n_classes) float32, of one vector a clip, (N, D).

    The dense layer is named `classes`: calibration divides its weights by the temperature.
    """
    x = layers.Dense(n_classes, activation="softmax", dtype="float32", name="classes")(x)
    if train.draw != "middle" and shape[0] > train.frames:
        x = AverageViews(shape[0] // train.frames, dtype="float32", name="views")(x)
    return x
