"""Every layer of `har`: importing this module makes them known to `keras.saving.load_model`."""

from har.nn.conv_lstm2d import ConvLSTM2D
from har.nn.normalization import BatchNormalization
from har.nn.pooling import MaxPooling3D, PooledConv2D
from har.nn.preprocessing import AugmentClip, AverageViews, DrawFrames, Motion
from har.nn.time_folding import FoldTime, ShiftFeatures, UnfoldTime

__all__ = [
    "AugmentClip",
    "AverageViews",
    "BatchNormalization",
    "ConvLSTM2D",
    "DrawFrames",
    "FoldTime",
    "MaxPooling3D",
    "Motion",
    "PooledConv2D",
    "ShiftFeatures",
    "UnfoldTime",
]
