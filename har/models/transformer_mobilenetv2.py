"""A transformer along time on MobileNetV2's features of frames and of their changes.

Idea: ViViT's factorised encoder (`har.models.transformer`) whose spatial half is pretrained.
Shapes at 20 × 224 × 224: features 2 views × 19 × 7168 → 19 × 128. Parameters: 1,065,732 with
4 classes, and 2,257,984 of the backbone. Cost: 40 M multiply-adds a clip, and twice the
backbone's 0.3 G a frame and view. Reaches: 0.88 on real clips.
"""

from keras import Model, layers

from har.models.parts.attention import along_time
from har.models.parts.on_features import Shape, classes_of, feature_input
from har.params import ApproachParams, PositiveInt, Rate, TrainParams


class Params(ApproachParams):
    """The `transformer_mobilenetv2` section."""

    width: PositiveInt  # numbers a token
    heads: PositiveInt
    temporal: PositiveInt  # blocks of the encoder along time
    dropout: Rate


def build(n_classes: int, shape: Shape, params: Params, train: TrainParams, seed: int) -> Model:
    """Build the network, as `har.models` says."""
    features, x = feature_input(shape)
    x = layers.Dropout(params.dropout, seed=seed)(layers.LayerNormalization()(x))
    x = layers.Dense(params.width)(x)
    x = along_time(x, params.temporal, params.heads, params.dropout, seed + 1)
    x = layers.Dropout(params.dropout, seed=seed)(x)
    return Model(features, classes_of(x, n_classes, shape[0]), name="transformer_mobilenetv2")
