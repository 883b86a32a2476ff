"""The tutorial's LRCN: a frame CNN, then an LSTM over the frames' features.

Idea: as `har.models.lrcn`, on pixels, in the architecture of the UCF50 tutorial (Anwar et al.,
Bleed AI, 2021): 3 × 3 convolutions with ReLU, max-pooling and dropout, then an LSTM.
Shapes at 20 × 64 × 64: 64×64×16 → 16 → 4 → 2 → 1×1×64 a frame; LSTM 32. Parameters: 73,060 with
4 classes, 74,578 with 50. Cost: 68 M multiply-adds a clip. Reaches: 0.30 on real clips, 0.81 with
random folds.
"""

from keras import Model, layers

from har.models.parts.on_clips import Shape, classes_of, clip_input
from har.models.parts.plain_cnn import PlainCNNParams, plain_cnn
from har.nn.time_folding import FoldTime, UnfoldTime
from har.params import PositiveInt, TrainParams


class Params(PlainCNNParams):
    """The `lrcn_tutorial` section."""

    units: PositiveInt  # of the LSTM


def build(n_classes: int, shape: Shape, params: Params, train: TrainParams, seed: int) -> Model:
    """Build the network, as `har.models` says."""
    clips, x = clip_input(shape, train, seed)
    T = x.shape[1]
    x = UnfoldTime(T)(plain_cnn(FoldTime()(x), params, seed))
    # cuDNN's LSTM under JAX predicts wrongly with Keras 3.15, so it is never used.
    x = layers.LSTM(params.units, use_cudnn=False)(x)
    return Model(clips, classes_of(x, n_classes, shape, train), name="lrcn_tutorial")
