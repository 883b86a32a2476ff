"""Every layer of `har`: importing this module makes them known to `keras.saving.load_model`."""
# ruff: noqa: F401

from har.nn.conv_lstm2d import ConvLSTM2D
from har.nn.normalization import BatchNormalization
from har.nn.preprocessing import AugmentClip, AverageViews, DrawFrames, Motion
from har.nn.time_folding import FoldTime, ShiftFeatures, UnfoldTime
