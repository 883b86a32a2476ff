"""LRCN: a frame CNN, then an LSTM over the frames' features.

Idea: a CNN describes each frame, an LSTM how the description changes (Donahue et al., Long-term
Recurrent Convolutional Networks, CVPR 2015). The CNN is a small residual one on differences of
frames (`har.nn.preprocessing.Motion`). The LSTM runs in both directions and its outputs are
averaged over time. Trained from scratch.

Shapes at 20 × 64 × 64, width 24: 19 differences; 32×32×24 → 16×16×48 → 8×8×72 → 4×4×96 → 96 a
difference; LSTM 2 × 64, averaged. Parameters: 351,820 with 4 classes. Cost: 316 M multiply-adds a
clip; 2.5 min of training on the sample, on 2 cores. Reaches: 0.98 on the sample, 0.80 on real clips
(docs/results.md).
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
    """Build the network.

    Args:
        n_classes: number of classes.
        shape: (T, H, W) of a stored clip.
        params: the section of the approach.
        train: the `train` section: how clips are fed.
        seed: of dropout and augmentation; initial weights follow Keras's global seed.

    Returns:
        A model from (N, T, H, W, 3) uint8 RGB to (N, n_classes) float32 probabilities.
    """
    clips, x = clip_input(shape, train, seed, params.see)
    T = x.shape[1]
    x = residual_cnn(FoldTime()(x), params.width, T if params.shift else 0)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(params.dropout, seed=seed)(x)
    x = UnfoldTime(T)(x)
    # cuDNN's LSTM under JAX predicts wrongly with Keras 3.15, so it is never used.
    lstm = layers.LSTM(params.units, return_sequences=True, use_cudnn=False)
    x = layers.Bidirectional(lstm)(x)
    x = layers.GlobalAveragePooling1D()(x)
    x = layers.Dropout(params.dropout, seed=seed + 1)(x)
    return Model(clips, classes_of(x, n_classes, shape, train), name="lrcn")
