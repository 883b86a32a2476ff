"""A transformer over tubelets: attention within each moment first, then along time.

Idea: a clip is cut into small blocks of space and time, tubelets, each a token; a spatial encoder
relates the tokens of one moment, their averages are the tokens of a temporal encoder (Arnab et
al., ViViT, ICCV 2021, their *factorised encoder*). From scratch. Two things differ from ViViT,
because data are few: positions come from depth-wise convolutions, see `har.models.parts.attention`, and
tokens are averaged instead of read from a class token. What is seen is the motion between two
frames, see `har.nn.preprocessing.Motion`, unless `see` says otherwise.

Shapes at 20 × 64 × 64, tubelets 3 × 8 × 8: 7×8×8×64; 7 × 64 tokens in space, 7 in time.
Parameters: 172,228 with 4 classes. Cost: 54 M multiply-adds a clip.
"""

from typing import Annotated

from pydantic import Field

from har.models.parts.attention import along_time, encoder
from har.models.parts.on_clips import classes_of, clip_input
from har.nn.backend import keras
from har.nn.layers import FoldTime, UnfoldTime
from har.params import ApproachParams, PositiveInt, Rate, Seen, TrainParams

layers = keras.layers


class Params(ApproachParams):
    """The `transformer` section."""

    see: Seen
    tubelet: Annotated[
        tuple[PositiveInt, PositiveInt, PositiveInt], Field(strict=False)
    ]  # frames, height, width
    width: PositiveInt  # numbers a token
    heads: PositiveInt
    spatial: PositiveInt  # blocks of the encoder within a moment
    temporal: PositiveInt  # blocks of the encoder along time
    dropout: Rate


def build(
    n_classes: int, shape: tuple[int, int, int], params: Params, train: TrainParams, seed: int
) -> keras.Model:
    """Build the network; arguments and model as in `har.models.lrcn.build`."""
    clips, x = clip_input(shape, train, seed, params.see)
    x = layers.Conv3D(params.width, params.tubelet, params.tubelet, padding="same")(x)
    moments, height, width = x.shape[1:4]
    x = FoldTime()(x)
    x = layers.Add()([x, layers.DepthwiseConv2D(3, padding="same")(x)])
    x = layers.Reshape((height * width, params.width))(x)
    x = encoder(x, params.spatial, params.heads, params.dropout, seed)
    x = UnfoldTime(moments)(layers.GlobalAveragePooling1D()(x))
    x = along_time(x, params.temporal, params.heads, params.dropout, seed + params.spatial)
    x = layers.Dropout(params.dropout, seed=seed)(x)
    return keras.Model(clips, classes_of(x, n_classes, shape, train), name="transformer")
