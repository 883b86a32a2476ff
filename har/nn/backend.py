"""What the layers have to know about the backend that computes them."""

from collections.abc import Callable

import keras


def fused(function: Callable) -> Callable:
    """Return `function` of tensors as one XLA kernel; JAX compiles whole graphs anyway."""
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    if not tf.inside_function():  # an eager call is over before XLA has compiled anything
        return function
    return tf.function(function, jit_compile=True, autograph=False)


def on_gpu() -> bool:
    """Return whether JAX computes on a GPU."""
    if keras.backend.backend() != "jax":
        return False
    import jax

    return jax.default_backend() == "gpu"
