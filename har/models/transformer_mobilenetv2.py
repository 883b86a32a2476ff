"""A transformer along time, over what MobileNetV2, frozen, sees in frames and in their changes.

Idea: ViViT's factorised encoder, see `har.models.transformer`, whose spatial half is a CNN that
knows ImageNet. The features, of frames and of changes, are made once, by `stages/features.py`.

Shapes at 20 × 224 × 224: features 2 views × 19 × 7168 → 19 × 128. Parameters: 1,065,732 with
4 classes, and 2,257,984 of the backbone. Cost: 40 M multiply-adds a clip, and twice the
backbone's 0.3 G a frame and view.
"""

from har.models.parts.attention import along_time
from har.models.parts.on_features import classes_of, feature_input
from har.nn.backend import keras
from har.params import ApproachParams, PositiveInt, Rate, TrainParams

layers = keras.layers


class Params(ApproachParams):
    """The `transformer_mobilenetv2` section."""

    width: PositiveInt  # numbers a token
    heads: PositiveInt
    temporal: PositiveInt  # blocks of the encoder along time
    dropout: Rate


def build(
    n_classes: int, shape: tuple[int, int, int], params: Params, train: TrainParams, seed: int
) -> keras.Model:
    """Build the network; arguments and model as in `har.models.i3d.build`."""
    features, x = feature_input(shape)
    x = layers.Dropout(params.dropout, seed=seed)(layers.LayerNormalization()(x))
    x = layers.Dense(params.width)(x)
    x = along_time(x, params.temporal, params.heads, params.dropout, seed + 1)
    x = layers.Dropout(params.dropout, seed=seed)(x)
    return keras.Model(features, classes_of(x, shape[0], n_classes), name="transformer_mobilenetv2")
