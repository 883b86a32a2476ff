"""The tutorial's LRCN: a frame CNN, then an LSTM over the frames' features.

Idea: what is seen is read from each frame by a CNN, how it changes by an LSTM (Donahue et al.,
Long-term Recurrent Convolutional Networks, CVPR 2015). The architecture is that of the
well-known UCF50 tutorial (Anwar et al., Bleed AI, 2021): 3 × 3 convolutions, ReLU, max-pooling
and dropout; LSTM; dense layer. Trained from scratch.

Shapes at 20 × 64 × 64: 64×64×16 → 16 → 4 → 2 → 1×1×64 a frame; LSTM 32. Parameters: 73,060 with
4 classes, 74,578 with 50. Cost: 68 M multiply-adds a clip. Time is folded into the batch: there is
no loop over frames but the LSTM's own.
"""

from har.models.parts.on_clips import classes_of, clip_input
from har.models.parts.plain_cnn import FrameCNNParams, frame_cnn
from har.nn.backend import keras
from har.nn.layers import FoldTime, UnfoldTime
from har.params import PositiveInt, TrainParams

layers = keras.layers


class Params(FrameCNNParams):
    """The `lrcn_tutorial` section."""

    units: PositiveInt  # of the LSTM


def build(
    n_classes: int, shape: tuple[int, int, int], params: Params, train: TrainParams, seed: int
) -> keras.Model:
    """Build the network; arguments and model as in `har.models.lrcn.build`."""
    clips, x = clip_input(shape, train, seed)
    T = x.shape[1]
    x = UnfoldTime(T)(frame_cnn(FoldTime()(x), params, seed))
    # cuDNN's LSTM under JAX predicts wrongly with Keras 3.15, so it is never used.
    x = layers.LSTM(params.units, use_cudnn=False)(x)
    return keras.Model(clips, classes_of(x, n_classes, shape, train), name="lrcn_tutorial")
