"""The tutorial's ConvLSTM: convolutional LSTM layers over the frames, then one dense layer.

Idea: the gates of an LSTM are convolutions, so its memory is an image and keeps where things
are while it learns how they move (Shi et al., Convolutional LSTM Network, NeurIPS 2015). The
architecture is that of the well-known UCF50 tutorial (Anwar et al., Bleed AI, 2021): blocks of
ConvLSTM2D 3 × 3, tanh, *valid* padding, then 2 × 2 max-pooling in space; the last block is
followed by the dense layer.

Shapes at 20 × 64 × 64: 62×62×4 → 31 → 29×29×8 → 15 → 13×13×14 → 7 → 5×5×16 → 3×3×16 a frame;
2,880 features for the dense layer. Parameters: 44,524 with 4 classes, 177,050 with 50.
Cost: 182 M multiply-adds a clip.
"""

from har.models.parts.on_clips import classes_of, clip_input
from har.nn.backend import keras
from har.nn.layers import ConvLSTM2D, MaxPooling3D
from har.params import ApproachParams, IntTuple, Rate, TrainParams

layers = keras.layers


class Params(ApproachParams):
    """The `convlstm_tutorial` section: one ConvLSTM2D block an entry of `filters`."""

    filters: IntTuple
    dropout: Rate  # after each block but the last
    recurrent_dropout: Rate


def build(
    n_classes: int, shape: tuple[int, int, int], params: Params, train: TrainParams, seed: int
) -> keras.Model:
    """Build the network; arguments and model as in `har.models.lrcn.build`."""
    clips, x = clip_input(shape, train, seed)
    last = len(params.filters) - 1
    for block, filters in enumerate(params.filters):
        x = ConvLSTM2D(
            filters,
            3,
            recurrent_dropout=params.recurrent_dropout,
            return_sequences=True,
            seed=seed + block,
        )(x)
        x = MaxPooling3D((1, 2, 2), padding="same")(x)
        if block < last:
            # A mask a frame, as the tutorial's TimeDistributed(Dropout) draws it.
            x = layers.Dropout(params.dropout, seed=seed + block)(x)
    x = layers.Flatten()(x)
    return keras.Model(clips, classes_of(x, n_classes, shape, train), name="convlstm_tutorial")
