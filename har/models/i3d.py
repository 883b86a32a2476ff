"""I3D: a linear classifier of features of a 3D Inception network trained on Kinetics-400.

Idea: features learned from 240,000 clips need only a linear classifier (Carreira & Zisserman, Quo
Vadis, Action Recognition?, CVPR 2017), fitted by logistic regression (`har.training.linear`).
Shapes at 2 windows of 64 × 224 × 224: features 2 × 8 moments × 1024; 3,072 numbers a clip.
Parameters: 12,292 with 4 classes, and 12,279,984 of the backbone (`har.backbones.i3d`). Cost: 111 G
multiply-adds a window, 1 to 2.5 s a clip on 2 cores. Reaches: docs/results.md.
"""

from typing import Annotated, Any, Literal

from keras import Input, Model, layers, ops
from pydantic import Field

from har.params import Section, TrainParams

LINEAR = True  # fitted in one go, not by gradient steps


class Params(Section):
    """The `i3d` section."""

    # Of each feature: mean; standard deviation over time, averaged over windows; the largest mean
    # of a window, since an action need not fill the clip.
    summary: Annotated[
        tuple[Literal["mean", "spread", "largest"], ...], Field(strict=False, min_length=1)
    ]
    train: dict[str, Any] = Field(default_factory=dict)


def build(
    n_classes: int, shape: tuple[int, int, int], params: Params, train: TrainParams, seed: int
) -> Model:
    """Build the network, as `har.models` says; `train` and `seed` are not used.

    `shape` is that of a clip's features: windows, time steps, numbers. The layer `summary` holds
    what the classifier sees.
    """
    features = Input(shape, dtype="float32", name="features")
    kinds = {
        "mean": lambda: ops.mean(features, axis=(1, 2)),
        "spread": lambda: ops.mean(ops.std(features, axis=2), axis=1),
        "largest": lambda: ops.max(ops.mean(features, axis=2), axis=1),
    }
    x = ops.concatenate([kinds[kind]() for kind in params.summary], axis=1)
    x = layers.Identity(name="summary")(x)
    options = {"kernel_initializer": "zeros", "dtype": "float32", "name": "classes"}
    return Model(features, layers.Dense(n_classes, "softmax", **options)(x), name="i3d")
