"""Activations and their slopes, for layers that write out their gradient."""

from collections.abc import Callable

import keras
from keras import ops

# Each with its slope as a function of its own value.
ACTIVATIONS = {
    "linear": (lambda x: x, ops.ones_like),
    "relu": (ops.relu, lambda y: ops.cast(y > 0, y.dtype)),
    "tanh": (ops.tanh, lambda y: 1 - y * y),
    # By tanh, which XLA computes twice as fast.
    "sigmoid": (lambda x: 0.5 * ops.tanh(0.5 * x) + 0.5, lambda y: y * (1 - y)),
    "hard_sigmoid": (
        ops.hard_sigmoid,
        lambda y: ops.cast(ops.logical_and(y > 0, y < 1), y.dtype) / 6,
    ),
}


def check_activation(activation: Callable, layer: str, instead: str) -> None:
    """Raise a `ValueError` where an activation of Keras is not one of `ACTIVATIONS`."""
    name = keras.activations.serialize(activation)
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ValueError(
            f"{layer} expects activations from {', '.join(ACTIVATIONS)}, which never fall. "
            f"Received: {name}. Use {instead} for others."
        )


def with_slope(activation: Callable) -> tuple[Callable, Callable]:
    """Return an activation of Keras and its slope."""
    return ACTIVATIONS[keras.activations.serialize(activation)]
