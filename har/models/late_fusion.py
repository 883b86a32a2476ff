"""Late fusion: one CNN sees a few distant frames, and a dense layer compares their features.

Idea: motion is the difference of descriptions of frames (Karpathy et al., Large-scale Video
Classification with CNNs, CVPR 2014, with two frames). Features are concatenated in order of time.
Shapes at 20 × 64 × 64, 4 frames: 64×64×16 → 16 → 4 → 2 → 1×1×64 a frame, 256 features, dense 64.
Parameters: 77,220 with 4 classes. Cost: 14 M multiply-adds a clip; 30 s of training.
Reaches: 0.79 on the sample, 0.41 on real clips.
"""

from keras import Model, layers, ops

from har.models.parts.on_clips import Shape, classes_of, clip_input
from har.models.parts.plain_cnn import PlainCNNParams, plain_cnn
from har.nn.time_folding import FoldTime, UnfoldTime
from har.params import PositiveInt, TrainParams


class Params(PlainCNNParams):
    """The `late_fusion` section."""

    frames: PositiveInt  # of the clip that are looked at; more than there are: all
    units: PositiveInt  # of the dense layer that compares


def build(n_classes: int, shape: Shape, params: Params, train: TrainParams, seed: int) -> Model:
    """Build the network, as `har.models` says."""
    clips, x = clip_input(shape, train, seed)
    T = x.shape[1]
    count = min(params.frames, T)
    # The middles of `count` equal parts, as `har.clips.video` picks frames of a file.
    picked = [(2 * i + 1) * T // (2 * count) for i in range(count)]
    x = plain_cnn(FoldTime()(ops.take(x, picked, axis=1)), params, seed)
    x = layers.Flatten()(UnfoldTime(count)(x))
    x = layers.Dense(params.units, activation="relu")(x)
    x = layers.Dropout(params.dropout, seed=seed + len(params.filters))(x)
    return Model(clips, classes_of(x, n_classes, shape, train), name="late_fusion")
