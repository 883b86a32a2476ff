"""LRCN: a frame CNN, then an LSTM over the frames' features.

Idea: what is seen is read from each frame by a CNN, how it changes by an LSTM (Donahue et al.,
Long-term Recurrent Convolutional Networks, CVPR 2015). The architecture is that of the
well-known UCF50 tutorial (Anwar et al., Bleed AI, 2021): 3 × 3 convolutions, ReLU, max-pooling
and dropout; LSTM; dense layer. Trained from scratch.

Shapes at 20 × 64 × 64: 64×64×16 → 16 → 4 → 2 → 1×1×64 a frame; LSTM 32. Parameters: 73,060 with
4 classes, 74,578 with 50. Time is folded into the batch: there is no loop over frames but the
LSTM's own.
"""

from har.backend import keras
from har.layers import FoldTime, UnfoldTime
from har.models.inputs import clip_input
from har.params import LRCNParams, TrainParams

layers = keras.layers


def build(
    n_classes: int,
    shape: tuple[int, int, int],
    params: LRCNParams,
    train: TrainParams,
    seed: int,
) -> keras.Model:
    """Build the network.

    Args:
        n_classes: number of classes.
        shape: (T, H, W) of a clip.
        params: the `lrcn` section.
        train: the `train` section: how clips are fed.
        seed: of dropout and augmentation; initial weights follow Keras's global seed.

    Returns:
        A model from (N, T, H, W, 3) uint8 RGB to (N, n_classes) float32 probabilities.
    """
    clips, x = clip_input(shape, train, seed)
    x = FoldTime()(x)
    last = len(params.filters) - 1
    for block, (filters, pool) in enumerate(zip(params.filters, params.pools, strict=True)):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(pool)(x)
        if block < last:
            x = layers.Dropout(params.dropout, seed=seed + block)(x)
    x = layers.Flatten()(x)
    x = UnfoldTime(shape[0])(x)
    # cuDNN's LSTM under JAX predicts wrongly with Keras 3.15, so it is never used.
    x = layers.LSTM(params.units, use_cudnn=False)(x)
    outputs = layers.Dense(n_classes, activation="softmax", dtype="float32", name="classes")(x)
    return keras.Model(clips, outputs, name="lrcn")
