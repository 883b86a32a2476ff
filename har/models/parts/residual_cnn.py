"""The residual frame CNN that LRCN and ConvLSTM share.

Residual blocks (He et al., Deep Residual Learning, CVPR 2016, with the shortcut of ResNet-D: an
average before the 1 × 1 convolution) and batch normalisation, which lets a network of few clips
learn fast and is a mild regulariser.
"""

from har.nn.backend import keras
from har.nn.layers import BatchNormalization, ShiftFeatures

layers = keras.layers
MOMENTUM = 0.95  # of batch statistics: at Keras's 0.99 the first epochs of few clips say nothing


def frame_cnn(x, width: int, n_frames: int = 0):
    """Apply the CNN to images: (N, H, W, C) to (N, H/16, W/16, 4·width), sizes rounded up.

    Args:
        x: the images.
        width: filters of the first convolution.
        n_frames: images of a clip, which follow one another, where a block is to see the images
            before and after too, see `har.nn.layers.ShiftFeatures`; 0: each image by itself.
    """
    x = _convolution(x, width, 3, 2)
    x = layers.ReLU()(x)
    for factor in (2, 3, 4):
        x = _block(x, factor * width, n_frames)
    return x


def _block(x, filters: int, n_frames: int):
    """Apply a residual block that halves height and width."""
    shortcut = layers.AveragePooling2D(2, padding="same")(x)
    shortcut = _convolution(shortcut, filters, 1)
    if n_frames:
        x = ShiftFeatures(n_frames)(x)
    x = layers.ReLU()(_convolution(x, filters, 3, 2))
    x = _convolution(x, filters, 3)
    return layers.ReLU()(layers.Add()([x, shortcut]))


def _convolution(x, filters: int, kernel: int, strides: int = 1):
    x = layers.Conv2D(filters, kernel, strides, padding="same", use_bias=False)(x)
    return BatchNormalization(momentum=MOMENTUM)(x)
