"""MobileNetV2, pretrained on ImageNet: 1,280 features a picture, and 4 × 576 of a finer map.

Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks (CVPR 2018).
Parameters: 2,257,984. Cost: 0.30 G multiply-adds a picture of 224 × 224, two a frame.
"""

import warnings

import keras
from keras import layers, ops

from har.errors import UserError
from har.nn.time_folding import FoldTime, UnfoldTime

NAMED = ("imagenet", "random")  # Keras downloads the first once; the second is for tests


def build(shape: tuple[int, int, int], weights: str) -> keras.Model:
    """Build a frame CNN that takes clips and sees frames and the changes between them.

    ImageNet's features serve for pictures of changes too (Wang et al., Temporal Segment Networks,
    ECCV 2016).

    Args:
        shape: (T, H, W) of a clip; T at least 3, H and W at least 32.
        weights: one of `NAMED`, or a file of weights.

    Returns:
        A model from (N, T, H, W, 3) uint8 RGB to features (N, T - 1, 7168) float32: of every frame
        but the first, then of its change from the previous one. Each is the last feature map
        averaged over the picture, then a finer one averaged over each quarter.

    Raises:
        UserError: there are too few frames, or the weights cannot be loaded.
    """
    n_changes = shape[0] - 1
    if n_changes < 2:
        raise UserError(
            "Expected backbones.mobilenetv2.count of 3 or more, for at least two changes between "
            f"frames. Received: {shape[0]}. Set it to 20, for example."
        )
    network = _load(shape[1:], weights)
    finer = _quarters(network.get_layer("block_13_expand_relu").output)
    both = keras.Model(network.input, [network.output, finer], name="mobilenetv2_frames")
    clips = keras.Input((*shape, 3), dtype="uint8", name="clips")
    frames = ops.cast(clips, "float32")
    pictures = FoldTime()(ops.concatenate([frames[:, 1:], _changes(frames)], axis=1))
    seen = both(layers.Rescaling(1 / 127.5, offset=-1)(pictures))  # MobileNetV2 takes -1 to 1
    seen = UnfoldTime(2 * n_changes)(layers.Concatenate()(seen))
    features = ops.concatenate([seen[:, :n_changes], seen[:, n_changes:]], axis=-1)
    return keras.Model(clips, features, name="mobilenetv2")


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


def _load(size: tuple[int, int], weights: str) -> keras.Model:
    # From frames (N, H, W, 3) to averaged features (N, 1280).
    source = None if weights == "random" else weights
    options = {"include_top": False, "weights": source, "pooling": "avg"}
    try:
        with warnings.catch_warnings():
            # Weights without the classifier are the same for every size of frame.
            warnings.simplefilter("ignore", UserWarning)
            return keras.applications.MobileNetV2(input_shape=(*size, 3), **options)
    except Exception as error:  # network, disk or file
        raise UserError(
            f"Expected the weights {weights} of mobilenetv2. Received: "
            f"{str(error).splitlines()[0]}. Set backbones.mobilenetv2.weights to imagenet, which "
            "needs a network once, or to a file."
        ) from None
