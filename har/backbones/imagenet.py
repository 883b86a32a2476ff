"""Frame CNNs of `keras.applications`, pretrained on ImageNet, without their classifiers."""

import warnings
from collections.abc import Callable

import keras
from keras import layers, ops

from har.errors import UserError
from har.nn.time_folding import FoldTime, UnfoldTime

NAMED = ("imagenet", "random")  # Keras downloads the first once; the second is for tests


def build(
    cnn: Callable[[tuple[int, int], str], keras.Model],
    rescale: Callable,
    shape: tuple[int, int, int],
    weights: str,
    name: str,
    middle: str,
) -> keras.Model:
    """Build a frame CNN that takes clips and sees frames and the changes between them.

    ImageNet's features serve for pictures of changes too (Wang et al., Temporal Segment Networks,
    ECCV 2016).

    Args:
        cnn: function of (H, W) and weights that returns the CNN for frames.
        rescale: function from RGB frames, 0 to 255, to the input of the CNN.
        shape: (T, H, W) of a clip; T at least 3, H and W at least 32.
        weights: one of `NAMED`, or a file of weights.
        name: name of the backbone.
        middle: name of the layer with the finer feature map, of one sixteenth of H and W.

    Returns:
        A model from (N, T, H, W, 3) uint8 RGB to features (N, T - 1, 2·D) float32: of every frame
        but the first, then of its change from the previous one. Each is the last feature map
        averaged over the picture, then the finer one averaged over each quarter.

    Raises:
        UserError: there are too few frames, or the weights cannot be loaded.
    """
    n_changes = shape[0] - 1
    if n_changes < 2:
        raise UserError(
            f"Expected backbones.{name}.count of 3 or more, for at least two changes between "
            f"frames. Received: {shape[0]}. Set it to 20, for example."
        )
    network = cnn(shape[1:], weights)
    finer = network.get_layer(middle).output
    both = keras.Model(network.input, [network.output, _quarters(finer)], name=f"{name}_frames")
    clips = keras.Input((*shape, 3), dtype="uint8", name="clips")
    frames = ops.cast(clips, "float32")
    pictures = ops.concatenate([frames[:, 1:], _changes(frames)], axis=1)
    seen = layers.Concatenate()(both(rescale(FoldTime()(pictures))))
    seen = UnfoldTime(2 * n_changes)(seen)
    features = ops.concatenate([seen[:, :n_changes], seen[:, n_changes:]], axis=-1)
    return keras.Model(clips, features, name=name)


def _changes(frames):
    # Pictures of the change from frame to frame, 0 to 255; grey is no change. The mean change of a
    # clip becomes about 40, for any contrast; a mean below 1 is noise and stays smaller.
    change = frames[:, 1:] - frames[:, :-1]
    mean = ops.mean(ops.abs(change), axis=(1, 2, 3, 4), keepdims=True)
    return ops.clip(127.5 + change * (40 / ops.maximum(mean, 1.0)), 0, 255)


def _quarters(x):
    # The averages of a map's quarters, (N, 4·C). A middle row counts for both.
    strides = [length // 2 for length in x.shape[1:3]]
    sizes = [length - stride for length, stride in zip(x.shape[1:3], strides, strict=True)]
    return layers.Flatten()(layers.AveragePooling2D(sizes, strides)(x))


def load(
    network: Callable[..., keras.Model], size: tuple[int, int], weights: str, name: str
) -> keras.Model:
    """Load a network of `keras.applications`, from frames to averaged features.

    Raises:
        UserError: the weights cannot be loaded.
    """
    source = None if weights == "random" else weights
    try:
        with warnings.catch_warnings():
            # Weights without the classifier are the same for every size of frame.
            warnings.simplefilter("ignore", UserWarning)
            return network(include_top=False, weights=source, input_shape=(*size, 3), pooling="avg")
    except Exception as error:  # network, disk or file
        raise UserError(
            f"Expected the weights {weights} of {name}. Received: {str(error).splitlines()[0]}. "
            f"Set backbones.{name}.weights to imagenet, which needs a network once, or to a file."
        ) from None
