"""The front and the end of networks that learn from features of `har.backbones.features`.

A clip comes as V views: its windows, each as it is and perhaps mirrored. All are read by the same
weights, and what they say is averaged before the last layer: averaged logits, so that the last
layer is the dense one.
"""

from har.nn.backend import keras
from har.nn.layers import FoldTime, UnfoldTime

layers = keras.layers


def feature_input(shape: tuple[int, int, int]):
    """Return the input of features, (N, V, T, D) float32, and them as (N·V, T, D)."""
    features = keras.Input(shape, dtype="float32", name="features")
    return features, FoldTime()(features)


def classes_of(x, n_views: int, n_classes: int):
    """Return class probabilities, (N, n_classes) float32, of one vector a view, (N·V, D)."""
    return last_layer(layers.GlobalAveragePooling1D()(UnfoldTime(n_views)(x)), n_classes)


def last_layer(x, n_classes: int):
    """Return class probabilities, (N, n_classes) float32, of one vector a clip, (N, D)."""
    # From zero: what random weights say of thousands of features would never be unlearned of a few
    # hundred clips.
    return layers.Dense(
        n_classes,
        activation="softmax",
        kernel_initializer="zeros",
        dtype="float32",
        name="classes",
    )(x)
