"""ConvLSTM: a frame CNN, then a convolutional LSTM over its maps of features.

Idea: the gates of an LSTM are convolutions, so its memory is an image and keeps where things are
while it learns how they move (Shi et al., Convolutional LSTM Network, NeurIPS 2015). Here it reads
the maps of a small residual CNN that sees the motion between two frames, see `har.nn.preprocessing.Motion`;
with `shift` its features also move between frames, see `har.nn.layers.ShiftFeatures`. The states are
averaged over time and place. Trained from scratch. `har.models.convlstm_tutorial` is the network of
the well-known tutorial.

Shapes at 20 × 64 × 64, width 24: 19 differences; 32×32×24 → 16×16×48 → 8×8×72 → 4×4×96 a
difference; ConvLSTM 4×4×64, averaged. Parameters: 638,028 with 4 classes.
Cost: 427 M multiply-adds a clip.
"""

from har.models.parts import residual_cnn
from har.models.parts.on_clips import classes_of, clip_input
from har.nn.backend import keras
from har.nn.layers import ConvLSTM2D, FoldTime, UnfoldTime
from har.params import PositiveInt, Rate, SeeingParams, TrainParams

layers = keras.layers


class Params(SeeingParams):
    """The `convlstm` section."""

    width: PositiveInt  # filters of the first convolution; the others have 2, 3 and 4 times as many
    units: PositiveInt  # filters of the convolutional LSTM
    dropout: Rate  # after it; half of it before


def build(
    n_classes: int, shape: tuple[int, int, int], params: Params, train: TrainParams, seed: int
) -> keras.Model:
    """Build the network; arguments and model as in `har.models.lrcn.build`."""
    clips, x = clip_input(shape, train, seed, params.see)
    T = x.shape[1]
    x = UnfoldTime(T)(residual_cnn.frame_cnn(FoldTime()(x), params.width, T if params.shift else 0))
    x = layers.SpatialDropout3D(params.dropout / 2, seed=seed)(x)
    x = ConvLSTM2D(params.units, 3, padding="same", return_sequences=True, seed=seed)(x)
    x = layers.GlobalAveragePooling3D()(x)
    x = layers.Dropout(params.dropout, seed=seed + 1)(x)
    return keras.Model(clips, classes_of(x, n_classes, shape, train), name="convlstm")
