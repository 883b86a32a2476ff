"""MobileNetV2, pretrained on ImageNet: 1,280 features a picture, and 4 × 576 of a finer map.

Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks (CVPR 2018).
Parameters: 2,257,984. Cost: 0.30 G multiply-adds a picture of 224 × 224, two a frame.
"""

import keras

from har.backbones import imagenet

NAMED = imagenet.NAMED


def build(shape: tuple[int, int, int], weights: str) -> keras.Model:
    """Build the network for clips, see `imagenet.build`; features are (N, T - 1, 7168)."""
    return imagenet.build(cnn, rescale, shape, weights, "mobilenetv2", "block_13_expand_relu")


def cnn(size: tuple[int, int], weights: str) -> keras.Model:
    """Load the network for frames of `size`, (H, W)."""
    return imagenet.load(keras.applications.MobileNetV2, size, weights, "mobilenetv2")


def rescale(frames):
    """Scale RGB frames from 0 … 255 to the input of `cnn`: -1 to 1."""
    return keras.layers.Rescaling(1 / 127.5, offset=-1)(frames)
