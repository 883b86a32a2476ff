"""The front that all networks share: uint8 clips in, rescaled and, in training, augmented."""

import keras

from har.layers import AugmentClip
from har.params import AugmentParams


def clip_input(shape: tuple[int, int, int], augment: AugmentParams, seed: int):
    """Return the input and the first tensor of a network.

    Args:
        shape: (T, H, W) of a clip.
        augment: random changes in training.
        seed: of these.

    Returns:
        The input, (N, T, H, W, 3) uint8 RGB, and the same as float in [0, 1], augmented while
        training.
    """
    clips = keras.Input((*shape, 3), dtype="uint8", name="clips")
    x = keras.layers.Rescaling(1 / 255, name="rescale")(clips)
    return clips, AugmentClip(**augment.model_dump(), seed=seed, name="augment")(x)
