"""The tutorial's ConvLSTM: convolutional LSTM layers over the frames, then one dense layer.

Idea: as `har.models.convlstm`, on pixels, in the architecture of the UCF50 tutorial (Anwar et al.,
Bleed AI, 2021): ConvLSTM2D 3 × 3, tanh, `valid` padding, then 2 × 2 max-pooling in space.
Shapes at 20 × 64 × 64: 62×62×4 → 31 → 29×29×8 → 15 → 13×13×14 → 7 → 5×5×16 → 3×3×16 a frame.
Parameters: 44,524 with 4 classes, 177,050 with 50. Cost: 182 M multiply-adds a clip.
Reaches: 0.29 on real clips, 0.69 with random folds.
"""

from keras import Model, layers

from har.models.parts.on_clips import Shape, classes_of, clip_input
from har.nn.conv_lstm2d import ConvLSTM2D
from har.params import ApproachParams, IntTuple, Rate, TrainParams


class Params(ApproachParams):
    """The `convlstm_tutorial` section: one ConvLSTM2D block an entry of `filters`."""

    filters: IntTuple
    dropout: Rate  # after each block but the last
    recurrent_dropout: Rate


def build(n_classes: int, shape: Shape, params: Params, train: TrainParams, seed: int) -> Model:
    """Build the network, as `har.models` says."""
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
        x = layers.MaxPooling3D((1, 2, 2), padding="same")(x)
        if block < last:
            # A mask a frame, as the tutorial's TimeDistributed(Dropout) draws it.
            x = layers.Dropout(params.dropout, seed=seed + block)(x)
    x = layers.Flatten()(x)
    return Model(clips, classes_of(x, n_classes, shape, train), name="convlstm_tutorial")
