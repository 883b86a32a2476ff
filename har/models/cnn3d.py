"""R(2+1)D: a residual 3D CNN whose convolutions work first in space, then in time.

Idea: 1 × 3 × 3 and 3 × 1 × 1 with a ReLU between, for about the weights of 3 × 3 × 3, are easier to
fit (Tran et al., A Closer Look at Spatiotemporal Convolutions, CVPR 2018).
Shapes at 20 × 64 × 64: 19 differences; 10×32×32×16 → 5×16×16×32 → 3×8×8×64 → 2×4×4×128, averaged.
Parameters: 889,428 with 4 classes. Cost: 140 M multiply-adds a clip; 2 min of training.
Reaches: 0.98 on the sample, 0.76 on real clips.
"""

from keras import Model, layers

from har.models.parts.on_clips import Shape, classes_of, clip_input
from har.models.parts.residual_cnn import MOMENTUM
from har.nn.normalization import CHANNELS, BatchNormalization
from har.nn.time_folding import FoldTime, UnfoldTime
from har.params import ApproachParams, IntTuple, PositiveInt, Rate, Seen, TrainParams


class Params(ApproachParams):
    """The `cnn3d` section."""

    see: Seen
    stem: PositiveInt  # filters of the first convolution
    filters: IntTuple  # of each residual block
    dropout: Rate  # before the classes


def build(n_classes: int, shape: Shape, params: Params, train: TrainParams, seed: int) -> Model:
    """Build the network, as `har.models` says."""
    clips, x = clip_input(shape, train, seed, params.see)
    x = _norm_relu(_factorised(x, params.stem, 2))
    for filters in params.filters:
        x = _residual(x, filters)
    x = layers.GlobalAveragePooling3D()(x)
    x = layers.Dropout(params.dropout, seed=seed)(x)
    return Model(clips, classes_of(x, n_classes, shape, train), name="cnn3d")


def _residual(x, filters: int):
    y = _norm_relu(_factorised(x, filters, 2))
    y = BatchNormalization(momentum=MOMENTUM)(_factorised(y, filters, 1))
    x = layers.Conv3D(filters, 1, 2, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.Add()([BatchNormalization(momentum=MOMENTUM)(x), y]))


def _factorised(x, filters: int, stride: int):
    # Along the picture, then along time, with about as many weights as one 3 × 3 × 3.
    channels, T = x.shape[-1], x.shape[1]
    between = 27 * channels * filters / (9 * channels + 3 * filters)
    between = CHANNELS * max(1, round(between / CHANNELS))
    x = FoldTime()(x)  # on a CPU several times faster than a 3D convolution of depth 1
    x = layers.Conv2D(between, 3, stride, padding="same", use_bias=False)(x)
    x = _norm_relu(UnfoldTime(T)(x))
    return layers.Conv3D(filters, (3, 1, 1), (stride, 1, 1), padding="same", use_bias=False)(x)


def _norm_relu(x):
    return layers.ReLU()(BatchNormalization(momentum=MOMENTUM)(x))
