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
    middle: str,
) -> keras.Model:
    """Build a frame CNN that takes clips.

    The last feature map tells what is seen. An earlier one, finer, tells more of how a body is
    held, and its quarters where: changes of both along a clip are what an action is.

    Args:
        cnn: makes the CNN of frames, as `load` does.
        rescale: from RGB frames, 0 to 255, to what the CNN takes.
        shape: (T, H, W) of a clip; H and W at least 32.
        weights: one of `NAMED`, or a file of weights.
        name: of the model.
        middle: name of the layer that makes the finer feature map, of one sixteenth of H and W.

    Returns:
        A model from (N, T, H, W, 3) uint8 RGB to features (N, T, D) float32: the last feature map
        averaged over the picture, then the finer one averaged over each quarter of it.
    """
    network = cnn(shape[1:], weights)
    finer = network.get_layer(middle).output
    both = keras.Model(network.input, [network.output, _quarters(finer)], name=f"{name}_frames")
    clips = keras.Input((*shape, 3), dtype="uint8", name="clips")
    frames = layers.Concatenate()(both(rescale(FoldTime()(clips))))
    return keras.Model(clips, UnfoldTime(shape[0])(frames), name=name)


def _quarters(x):
    """Average a map, (N, H, W, C), over its quarters: (N, 4·C). A middle row counts for both."""
    strides = [length // 2 for length in x.shape[1:3]]
    sizes = [length - stride for length, stride in zip(x.shape[1:3], strides, strict=True)]
    return layers.Flatten()(layers.AveragePooling2D(sizes, strides)(x))


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
