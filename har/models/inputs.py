"""The front that all networks share: uint8 clips in, rescaled and, in training, augmented."""

from har.backend import keras
from har.layers import AugmentClip
from har.params import TrainParams


def clip_input(shape: tuple[int, int, int], train: TrainParams, seed: int):
    """Return the input and the first tensor of a network.

    Args:
        shape: (T, H, W) of a clip.
        train: `augment`, random changes in training, and `centre`, see `TrainParams`.
        seed: of the random changes.

    Returns:
        The input, (N, T, H, W, 3) uint8 RGB, and the same as float, augmented while training:
        from -1 to 1 where `centre`, else from 0 to 1.
    """
    clips = keras.Input((*shape, 3), dtype="uint8", name="clips")
    x = keras.layers.Rescaling(1 / 255, name="rescale")(clips)
    x = AugmentClip(**train.augment.model_dump(), seed=seed, name="augment")(x)
    if train.centre:
        x = keras.layers.Rescaling(2, offset=-1, name="centre")(x)
    return clips, x
