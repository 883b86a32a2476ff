"""Early fusion: the frames are the channels of one image, and a CNN for images does the rest.

Idea: the first convolution sees all frames at once and may learn any filter in time, at the price
of one fixed number of frames (Karpathy et al., Large-scale Video Classification with CNNs, CVPR
2014). Time is gone after that layer.

Shapes at 20 × 64 × 64: 64×64×60 → 64×64×32 → 32×32×32 → 16×16×64 → 8×8×64 → 4×4×64, 1,024
features, dense 64. Parameters: 175,524 with 4 classes. Cost: 101 M multiply-adds a clip.
"""

from har.models.parts.on_clips import classes_of, clip_input
from har.models.parts.plain_cnn import FrameCNNParams, frame_cnn
from har.nn.backend import keras
from har.params import PositiveInt, TrainParams

layers = keras.layers


class Params(FrameCNNParams):
    """The `early_fusion` section."""

    units: PositiveInt  # of the dense layer before the classes


def build(
    n_classes: int, shape: tuple[int, int, int], params: Params, train: TrainParams, seed: int
) -> keras.Model:
    """Build the network; arguments and model as in `har.models.lrcn.build`."""
    clips, x = clip_input(shape, train, seed)
    T, H, W = x.shape[1:4]
    x = layers.Permute((2, 3, 1, 4))(x)
    x = layers.Reshape((H, W, 3 * T))(x)
    x = frame_cnn(x, params, seed)
    x = layers.Dense(params.units, activation="relu")(x)
    x = layers.Dropout(params.dropout, seed=seed + len(params.filters))(x)
    return keras.Model(clips, classes_of(x, n_classes, shape, train), name="early_fusion")
