"""Frame CNNs of `keras.applications`, pretrained on ImageNet, without their classifiers."""

import warnings
from collections.abc import Callable

from har.backend import keras
from har.errors import UserError
from har.layers import FoldTime, UnfoldTime

layers = keras.layers

NAMED = ("imagenet", "random")  # Keras downloads the first once; the second is for tests


def build(
    cnn: Callable[[tuple[int, int], str], keras.Model],
    rescale: Callable,
    shape: tuple[int, int, int],
    weights: str,
    name: str,
) -> keras.Model:
    """Build a frame CNN that takes clips.

    Args:
        cnn: makes the CNN of frames, as `load` does.
        rescale: from RGB frames, 0 to 255, to what the CNN takes.
        shape: (T, H, W) of a clip; H and W at least 32.
        weights: one of `NAMED`, or a file of weights.
        name: of the model.

    Returns:
        A model from (N, T, H, W, 3) uint8 RGB to features (N, T, D) float32: the last feature map
        averaged over the picture.
    """
    clips = keras.Input((*shape, 3), dtype="uint8", name="clips")
    frames = cnn(shape[1:], weights)(rescale(FoldTime()(clips)))
    return keras.Model(clips, UnfoldTime(shape[0])(frames), name=name)


def load(
    network: Callable[..., keras.Model], size: tuple[int, int], weights: str, name: str
) -> keras.Model:
    """Load a network of `keras.applications`, from frames to averaged features.

    Raises:
        UserError: the weights cannot be had.
    """
    source = None if weights == "random" else weights
    try:
        with warnings.catch_warnings():
            # Weights without the classifier are the same for every size of frame.
            warnings.simplefilter("ignore", UserWarning)
            return network(include_top=False, weights=source, input_shape=(*size, 3), pooling="avg")
    except Exception as error:  # of the network, the disk or the file
        raise UserError(
            f"Expected the weights {weights} of {name}. Received: {str(error).splitlines()[0]}. "
            f"Set backbones.{name}.weights to imagenet, which needs a network once, or to a file."
        ) from None
