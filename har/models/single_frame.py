"""Single frame: a CNN looks at each frame by itself, and what it says is averaged.

Idea: how far appearance alone goes (Karpathy et al., Large-scale Video Classification with CNNs,
CVPR 2014, their *single-frame* baseline). The same frames in another order give the same answer,
so what differs in time alone, sitting down from standing up, is out of its reach.

The logits of the frames are averaged, which is the logits of the averaged features: that lets the
last layer be the dense one. (Averaging probabilities, also common, differs little.)

Shapes at 20 × 64 × 64: 64×64×16 → 16 → 4 → 2 → 1×1×64 a frame, dense 64, averaged. Parameters:
64,932 with 4 classes. Cost: 68 M multiply-adds a clip.
"""

from har.models.parts.on_clips import classes_of, clip_input
from har.models.parts.plain_cnn import FrameCNNParams, frame_cnn
from har.nn.backend import keras
from har.nn.layers import FoldTime, UnfoldTime
from har.params import PositiveInt, TrainParams

layers = keras.layers


class Params(FrameCNNParams):
    """The `single_frame` section."""

    units: PositiveInt  # of the dense layer that each frame ends in


def build(
    n_classes: int, shape: tuple[int, int, int], params: Params, train: TrainParams, seed: int
) -> keras.Model:
    """Build the network; arguments and model as in `har.models.lrcn.build`."""
    clips, x = clip_input(shape, train, seed)
    T = x.shape[1]
    x = frame_cnn(FoldTime()(x), params, seed)
    x = layers.Dense(params.units, activation="relu")(x)
    x = layers.GlobalAveragePooling1D()(UnfoldTime(T)(x))
    return keras.Model(clips, classes_of(x, n_classes, shape, train), name="single_frame")
