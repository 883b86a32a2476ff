"""LRCN on MobileNetV2: an LSTM over the features of a CNN pretrained on ImageNet.

Idea: `har.models.lrcn` with transfer learning: features of frames and of their changes are computed
once (`har.backbones.mobilenetv2`), the LSTM and the classifier are trained.
Shapes at 20 × 224 × 224: features 2 views × 19 × 7168 → 19 × 128 → LSTM 64, and 2 × 7,168.
Parameters: 1,067,780 with 4 classes, and 2,257,984 of the backbone. Cost: 37 M multiply-adds a
clip, and twice the backbone's 0.3 G a frame and view. Reaches: 0.95 on real clips.
"""

from keras import Model, layers, ops

from har.errors import UserError
from har.models.parts.on_features import Shape, classes_of, feature_input
from har.params import ApproachParams, PositiveInt, Rate, TrainParams


class Params(ApproachParams):
    """The `lrcn_mobilenetv2` section."""

    width: PositiveInt  # numbers a frame that the LSTM reads
    units: PositiveInt  # of the LSTM
    dropout: Rate


def build(n_classes: int, shape: Shape, params: Params, train: TrainParams, seed: int) -> Model:
    """Build the network, as `har.models` says.

    Raises:
        UserError: there is only one step of time, so nothing changes.
    """
    if shape[1] < 2:
        raise UserError(
            "Expected 2 or more steps of time for lrcn_mobilenetv2, which reads their changes. "
            f"Received: {shape[1]}. Set backbones.mobilenetv2.count to 3 or more."
        )
    inputs, x = feature_input(shape)
    features = _normalised(x)
    x = layers.Dropout(params.dropout, seed=seed)(features)
    x = layers.Dense(params.width, activation="relu")(x)
    x = layers.Dropout(params.dropout, seed=seed + 1)(x)
    # cuDNN's LSTM under JAX predicts wrongly with Keras 3.15, so it is never used.
    x = layers.LSTM(params.units, return_sequences=True, use_cudnn=False)(x)
    # ImageNet's features describe things and places; how much each changes describes the action.
    # Square roots compress large changes; the millionth keeps their slope finite at 0.
    change = ops.sqrt(ops.mean(ops.abs(features[:, 1:] - features[:, :-1]), axis=1) + 1e-6)
    spread = ops.sqrt(ops.sqrt(ops.var(features, axis=1) + 1e-6))
    x = layers.Concatenate()([layers.GlobalAveragePooling1D()(x), change, spread])
    x = layers.Dropout(params.dropout, seed=seed + 2)(_normalised(x))
    return Model(inputs, classes_of(x, n_classes, shape[0]), name="lrcn_mobilenetv2")


def _normalised(x):
    # Training on features has few steps, too few for Keras's momentum of 0.99.
    return layers.BatchNormalization(center=False, scale=False, momentum=0.9)(x)
