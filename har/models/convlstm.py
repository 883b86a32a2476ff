"""ConvLSTM: a frame CNN, then a convolutional LSTM over its feature maps.

Idea: the LSTM's gates are convolutions, so its state keeps positions while it follows movement
(Shi et al., Convolutional LSTM Network, NeurIPS 2015). The states are averaged over time and space.
Shapes at 20 × 64 × 64, width 24: 19 differences, each 32×32×24 → 16×16×48 → 8×8×72 → 4×4×96;
ConvLSTM 4×4×64. Parameters: 638,028 with 4 classes. Cost: 427 M multiply-adds a clip; 3 min of
training. Reaches: 0.97 on the sample, 0.90 on real clips.
"""

from keras import Model, layers

from har.models.parts.on_clips import Shape, classes_of, clip_input
from har.models.parts.residual_cnn import residual_cnn
from har.nn.conv_lstm2d import ConvLSTM2D
from har.nn.time_folding import FoldTime, UnfoldTime
from har.params import PositiveInt, Rate, SeeingParams, TrainParams


class Params(SeeingParams):
    """The `convlstm` section."""

    width: PositiveInt  # filters of the first convolution; the others have 2, 3 and 4 times as many
    units: PositiveInt  # filters of the convolutional LSTM
    dropout: Rate  # after it; half of it before


def build(n_classes: int, shape: Shape, params: Params, train: TrainParams, seed: int) -> Model:
    """Build the network, as `har.models` says."""
    clips, x = clip_input(shape, train, seed, params.see)
    T = x.shape[1]
    x = UnfoldTime(T)(residual_cnn(FoldTime()(x), params.width, T if params.shift else 0))
    x = layers.SpatialDropout3D(params.dropout / 2, seed=seed)(x)
    x = ConvLSTM2D(params.units, 3, padding="same", return_sequences=True, seed=seed)(x)
    x = layers.GlobalAveragePooling3D()(x)
    x = layers.Dropout(params.dropout, seed=seed + 1)(x)
    return Model(clips, classes_of(x, n_classes, shape, train), name="convlstm")
