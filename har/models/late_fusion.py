"""Late fusion: one CNN looks at a few distant frames, and a dense layer compares what it saw.

Idea: each frame is understood by itself, and motion is what differs between the understandings
(Karpathy et al., Large-scale Video Classification with CNNs, CVPR 2014, who take two frames; here
`frames`, evenly over the clip). Unlike with averaging, the features stand side by side in the
order of time.

Shapes at 20 × 64 × 64, 4 frames: 64×64×16 → 16 → 4 → 2 → 1×1×64 a frame, 256 features, dense 64.
Parameters: 77,220 with 4 classes. Cost: 14 M multiply-adds a clip.
"""

from har.models.parts.on_clips import classes_of, clip_input
from har.models.parts.plain_cnn import FrameCNNParams, frame_cnn
from har.nn.backend import keras
from har.nn.layers import FoldTime, UnfoldTime
from har.params import PositiveInt, TrainParams

layers = keras.layers


class Params(FrameCNNParams):
    """The `late_fusion` section."""

    frames: PositiveInt  # of the clip that are looked at; more than there are: all
    units: PositiveInt  # of the dense layer that compares


def build(
    n_classes: int, shape: tuple[int, int, int], params: Params, train: TrainParams, seed: int
) -> keras.Model:
    """Build the network; arguments and model as in `har.models.lrcn.build`."""
    clips, x = clip_input(shape, train, seed)
    T = x.shape[1]
    count = min(params.frames, T)
    # The middles of `count` equal parts, as `har.clips.video` picks frames of a file.
    picked = [(2 * i + 1) * T // (2 * count) for i in range(count)]
    x = keras.ops.take(x, picked, axis=1)
    x = frame_cnn(FoldTime()(x), params, seed)
    x = layers.Flatten()(UnfoldTime(count)(x))
    x = layers.Dense(params.units, activation="relu")(x)
    x = layers.Dropout(params.dropout, seed=seed + len(params.filters))(x)
    return keras.Model(clips, classes_of(x, n_classes, shape, train), name="late_fusion")
