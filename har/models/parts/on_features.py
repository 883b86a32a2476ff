"""The first and the last layers of networks that read features; views share all weights."""

import keras
from keras import layers

from har.nn.time_folding import FoldTime, UnfoldTime

Shape = tuple[int, int, int]


def feature_input(shape: Shape):
    """Return the input of features, (N, V, T, D) float32, and them as (N·V, T, D)."""
    features = keras.Input(shape, dtype="float32", name="features")
    return features, FoldTime()(features)


def classes_of(x, n_classes: int, n_views: int):
    """Average one vector a view, (N·V, D), over views; return probabilities, (N, n_classes)."""
    return last_layer(layers.GlobalAveragePooling1D()(UnfoldTime(n_views)(x)), n_classes)


def last_layer(x, n_classes: int):
    """Return class probabilities, (N, n_classes) float32, from one vector a clip, (N, D)."""
    # From zero: a few hundred clips would not correct random weights of thousands of features.
    return layers.Dense(
        n_classes,
        activation="softmax",
        kernel_initializer="zeros",
        dtype="float32",
        name="classes",
    )(x)
