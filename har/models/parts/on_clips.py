"""The first and the last layers of networks that read frames."""

import keras
from keras import layers

from har.nn.preprocessing import AugmentClip, AverageViews, DrawFrames, Motion
from har.params import TrainParams

Shape = tuple[int, int, int]


def clip_input(shape: Shape, train: TrainParams, seed: int, see: str = "pixels"):
    """Return the input, (N, T, H, W, 3) uint8 RGB, and the first tensor, (N', t, H, W, C) float.

    Pixels are from -1 to 1 with `train.centre`, else from 0 to 1. `motion` is differences of
    neighbouring frames, one fewer; `both` is pixels and the differences that led to them, C = 6.
    Outside of training N' may be a multiple of N: see `DrawFrames`.
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


def classes_of(x, n_classes: int, shape: Shape, train: TrainParams):
    """Return class probabilities, (N, n_classes) float32, from one vector a clip, (N, D)."""
    # Calibration finds the layer by its name and divides its weights by the temperature.
    x = layers.Dense(n_classes, activation="softmax", dtype="float32", name="classes")(x)
    if train.draw != "middle" and shape[0] > train.frames:
        x = AverageViews(shape[0] // train.frames, dtype="float32", name="views")(x)
    return x
