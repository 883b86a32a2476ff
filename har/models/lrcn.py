"""LRCN: a frame CNN, then an LSTM over the frames' features.

Idea: a CNN describes each frame, an LSTM in both directions how the description changes (Donahue et
al., Long-term Recurrent Convolutional Networks, CVPR 2015). Its outputs are averaged over time.
Shapes at 20 × 64 × 64, width 24: 19 differences, each 32×32×24 → 16×16×48 → 8×8×72 → 4×4×96 → 96;
LSTM 2 × 64. Parameters: 351,820 with 4 classes. Cost: 316 M multiply-adds a clip; 2.5 min of
training. Reaches: 0.98 on the sample, 0.91 on real clips.
"""

from keras import Model, layers

from har.models.parts.on_clips import Shape, classes_of, clip_input
from har.models.parts.residual_cnn import residual_cnn
from har.nn.time_folding import FoldTime, UnfoldTime
from har.params import PositiveInt, Rate, SeeingParams, TrainParams


class Params(SeeingParams):
    """The `lrcn` section."""

    width: PositiveInt  # filters of the first convolution; the others have 2, 3 and 4 times as many
    units: PositiveInt  # of the LSTM, in each direction
    dropout: Rate  # before and after the LSTM


def build(n_classes: int, shape: Shape, params: Params, train: TrainParams, seed: int) -> Model:
    """Build the network, as `har.models` says."""
    clips, x = clip_input(shape, train, seed, params.see)
    T = x.shape[1]
    x = residual_cnn(FoldTime()(x), params.width, T if params.shift else 0)
    x = layers.GlobalAveragePooling2D()(x)
    x = UnfoldTime(T)(layers.Dropout(params.dropout, seed=seed)(x))
    # cuDNN's LSTM under JAX predicts wrongly with Keras 3.15, so it is never used.
    lstm = layers.LSTM(params.units, return_sequences=True, use_cudnn=False)
    x = layers.Bidirectional(lstm)(x)
    x = layers.GlobalAveragePooling1D()(x)
    x = layers.Dropout(params.dropout, seed=seed + 1)(x)
    return Model(clips, classes_of(x, n_classes, shape, train), name="lrcn")
