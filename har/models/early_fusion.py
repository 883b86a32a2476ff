"""Early fusion: the frames are the channels of one image, which a CNN for images classifies.

Idea: the first convolution sees all frames and can learn any filter in time, for one fixed number
of frames (Karpathy et al., Large-scale Video Classification with CNNs, CVPR 2014).
Shapes at 20 × 64 × 64: 64×64×60 → 64×64×32 → 32×32×32 → 16×16×64 → 8×8×64 → 4×4×64, dense 64.
Parameters: 175,524 with 4 classes. Cost: 101 M multiply-adds a clip; 40 s of training.
Reaches: 0.47 on the sample, 0.37 on real clips.
"""

from keras import Model, layers

from har.models.parts.on_clips import Shape, classes_of, clip_input
from har.models.parts.plain_cnn import PlainCNNParams, plain_cnn
from har.params import PositiveInt, TrainParams


class Params(PlainCNNParams):
    """The `early_fusion` section."""

    units: PositiveInt  # of the dense layer before the classes


def build(n_classes: int, shape: Shape, params: Params, train: TrainParams, seed: int) -> Model:
    """Build the network, as `har.models` says."""
    clips, x = clip_input(shape, train, seed)
    T, H, W = x.shape[1:4]
    x = layers.Reshape((H, W, 3 * T))(layers.Permute((2, 3, 1, 4))(x))
    x = plain_cnn(x, params, seed)
    x = layers.Dense(params.units, activation="relu")(x)
    x = layers.Dropout(params.dropout, seed=seed + len(params.filters))(x)
    return Model(clips, classes_of(x, n_classes, shape, train), name="early_fusion")
