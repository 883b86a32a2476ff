"""LRCN on a CNN pretrained on ImageNet, frozen or tuned.

Frozen (`tune: 0` and a line in `features`), it reads features of `har.backbones.imagenet`, computed
once. Tuned (`tune: 20`, say, and no such line), clips go through the CNN, whose last layers learn
too; set `frames.height` and `.width` to about 224.
"""

from types import ModuleType
from typing import Annotated

import keras
from keras import layers, ops
from pydantic import Field

from har.errors import UserError
from har.models.parts.on_clips import clip_input
from har.models.parts.on_features import Shape, classes_of, feature_input
from har.nn.time_folding import FoldTime, UnfoldTime
from har.params import ApproachParams, PositiveInt, Rate, TrainParams


class LRCNParams(ApproachParams):
    """The section of an LRCN on a pretrained CNN."""

    tune: Annotated[int, Field(ge=0)]  # the last so many layers of the CNN learn too
    width: PositiveInt  # numbers a frame that the LSTM reads
    units: PositiveInt  # of the LSTM
    dropout: Rate


def build_on(
    backbone: ModuleType,
    n_classes: int,
    shape: Shape,
    params: LRCNParams,
    train: TrainParams,
    seed: int,
) -> keras.Model:
    """Build the network on a module of `har.backbones`; the rest as `har.models` says.

    Raises:
        UserError: there is only one step of time, so nothing changes; or `tune` is too high.
    """
    network = backbone.__name__.rpartition(".")[2]
    name = f"lrcn_{network}"
    steps = shape[0] if params.tune else shape[1]
    if steps < 2:
        remedy = "frames.count to 2" if params.tune else f"backbones.{network}.count to 3"
        raise UserError(
            f"Expected 2 or more steps of time for {name}, which reads their changes. "
            f"Received: {steps}. Set {remedy} or more."
        )
    if params.tune:
        # Every stored frame: with a tuned backbone clips are few.
        train = train.model_copy(update={"frames": shape[0]})
        inputs, x = clip_input(shape, train, seed)
        low, high = (-1, 1) if train.centre else (0, 1)
        scale = 255 / (high - low)
        x = layers.Rescaling(scale, offset=-low * scale)(FoldTime()(x))
        cnn = backbone.cnn(shape[1:], "imagenet")
        _freeze_but(cnn, params.tune)
        # Statistics of batch normalisation stay ImageNet's: a batch here is a few clips.
        x = UnfoldTime(shape[0])(cnn(backbone.rescale(x), training=False))
        n_views = 1
    else:
        inputs, x = feature_input(shape)
        n_views = shape[0]
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
    return keras.Model(inputs, classes_of(x, n_classes, n_views), name=name)


def _normalised(x):
    # Training on features has few steps, too few for Keras's momentum of 0.99.
    return layers.BatchNormalization(center=False, scale=False, momentum=0.9)(x)


def _freeze_but(cnn: keras.Model, count: int) -> None:
    with_weights = [layer for layer in cnn.layers if layer.weights]
    if count > len(with_weights):
        raise UserError(
            f"Expected tune ≤ {len(with_weights)}, the layers of {cnn.name}. Received: {count}. "
            "Lower it."
        )
    tuned = set(map(id, with_weights[-count:]))
    for layer in with_weights:
        layer.trainable = id(layer) in tuned
