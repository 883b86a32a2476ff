"""A residual CNN for frames: He et al., Deep Residual Learning (CVPR 2016)."""

from keras import layers

from har.nn.normalization import BatchNormalization
from har.nn.time_folding import ShiftFeatures

MOMENTUM = 0.95  # of batch statistics; Keras's 0.99 is too slow for the few steps of small sets


def residual_cnn(x, width: int, n_frames: int = 0):
    """Map images, (N, H, W, C), to (N, H/16, W/16, 4·width), sizes rounded up.

    With `n_frames`, images a clip, blocks shift features between neighbours (`ShiftFeatures`).
    """
    x = layers.ReLU()(_convolution(x, width, 3, 2))
    for factor in (2, 3, 4):
        x = _block(x, factor * width, n_frames)
    return x


def _block(x, filters: int, n_frames: int):
    # The shortcut is ResNet-D's: average pooling before the 1 × 1 convolution.
    shortcut = _convolution(layers.AveragePooling2D(2, padding="same")(x), filters, 1)
    if n_frames:
        x = ShiftFeatures(n_frames)(x)
    x = layers.ReLU()(_convolution(x, filters, 3, 2))
    x = _convolution(x, filters, 3)
    return layers.ReLU()(layers.Add()([x, shortcut]))


def _convolution(x, filters: int, kernel: int, strides: int = 1):
    x = layers.Conv2D(filters, kernel, strides, padding="same", use_bias=False)(x)
    return BatchNormalization(momentum=MOMENTUM)(x)
