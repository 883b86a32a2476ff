"""Single frame: a CNN classifies each frame by itself, and the logits are averaged.

Idea: how far appearance alone goes (Karpathy et al., Large-scale Video Classification with CNNs,
CVPR 2014); the order of frames does not matter. Averaged features give averaged logits.
Shapes at 20 × 64 × 64: 64×64×16 → 16 → 4 → 2 → 1×1×64 a frame, dense 64, averaged.
Parameters: 64,932 with 4 classes. Cost: 68 M multiply-adds a clip; 1 min of training.
Reaches: 0.50 on the sample, 0.41 on real clips.
"""

from keras import Model, layers

from har.models.parts.on_clips import Shape, classes_of, clip_input
from har.models.parts.plain_cnn import PlainCNNParams, plain_cnn
from har.nn.time_folding import FoldTime, UnfoldTime
from har.params import PositiveInt, TrainParams


class Params(PlainCNNParams):
    """The `single_frame` section."""

    units: PositiveInt  # of the dense layer that each frame ends in


def build(n_classes: int, shape: Shape, params: Params, train: TrainParams, seed: int) -> Model:
    """Build the network, as `har.models` says."""
    clips, x = clip_input(shape, train, seed)
    T = x.shape[1]
    x = plain_cnn(FoldTime()(x), params, seed)
    x = layers.Dense(params.units, activation="relu")(x)
    x = layers.GlobalAveragePooling1D()(UnfoldTime(T)(x))
    return Model(clips, classes_of(x, n_classes, shape, train), name="single_frame")
