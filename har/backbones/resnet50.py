"""ResNet-50, pretrained on ImageNet: 2,048 features a picture, and 4 × 1,024 of a finer map.

He et al., Deep Residual Learning for Image Recognition (CVPR 2016).
Parameters: 23,587,712. Cost: 3.9 G multiply-adds a picture of 224 × 224, two a frame.
"""

import keras

from har.backbones import imagenet

NAMED = imagenet.NAMED
_BGR_MEAN = (103.939, 116.779, 123.68)  # of ImageNet; the weights come from Caffe


def build(shape: tuple[int, int, int], weights: str) -> keras.Model:
    """Build the network for clips, see `imagenet.build`; features are (N, T - 1, 12288)."""
    return imagenet.build(cnn, rescale, shape, weights, "resnet50", "conv4_block6_out")


def cnn(size: tuple[int, int], weights: str) -> keras.Model:
    """Load the network for frames of `size`, (H, W)."""
    return imagenet.load(keras.applications.ResNet50, size, weights, "resnet50")


def rescale(frames):
    """Scale RGB frames from 0 … 255 to the input of `cnn`: BGR less ImageNet's mean."""
    bgr = keras.ops.flip(keras.ops.cast(frames, "float32"), axis=-1)
    return keras.layers.Rescaling(1.0, offset=[-mean for mean in _BGR_MEAN])(bgr)
