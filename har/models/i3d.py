"""I3D: a linear classifier of features of a 3D Inception network trained on Kinetics-400.

Idea: features learned from 240,000 clips need only a linear classifier (Carreira & Zisserman, Quo
Vadis, Action Recognition?, CVPR 2017), fitted by logistic regression (`har.training.linear`).
Shapes at 3 windows of 64 × 224 × 224: features 3 × 8 moments × 1024; 2,048 numbers a clip.
Parameters: 8,196 with 4 classes, and 12,279,984 of the backbone (`har.backbones.i3d`). Cost: 111 G
multiply-adds a window, 1.5 s a clip on 2 cores. Reaches: docs/results.md.
"""

from typing import Any

from keras import Model, layers, ops
from pydantic import Field

from har.models.parts.on_features import Shape, feature_input, last_layer
from har.params import Section, TrainParams

LINEAR = True  # fitted in one go, not by gradient steps


class Params(Section):
    """The `i3d` section."""

    spread: bool  # standard deviations over time beside the means
    train: dict[str, Any] = Field(default_factory=dict)


def build(n_classes: int, shape: Shape, params: Params, train: TrainParams, seed: int) -> Model:
    """Build the network, as `har.models` says; `train` and `seed` are not used.

    The layer `summary` holds what the classifier sees.
    """
    features, _ = feature_input(shape)
    parts = [ops.mean(features, axis=(1, 2))]
    if params.spread:
        parts.append(ops.mean(ops.std(features, axis=2), axis=1))
    x = layers.Identity(name="summary")(ops.concatenate(parts, axis=1))
    return Model(features, last_layer(x, n_classes), name="i3d")
