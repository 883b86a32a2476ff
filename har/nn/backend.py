"""What the layers have to know about the backend that computes them."""

from collections.abc import Callable

import keras


def fused(function: Callable) -> Callable:
    """Return `function` of tensors as one XLA kernel, where the graph around it is not XLA's.

    TensorFlow runs element-wise operations one by one, each a pass over memory. JAX compiles
    whole graphs.
    """
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    # A single eager call is over before XLA has compiled anything.
    if not tf.inside_function():
        return function
    return tf.function(function, jit_compile=True, autograph=False)


def on_gpu() -> bool:
    """Return whether JAX computes on a GPU."""
    if keras.backend.backend() != "jax":
        return False
    import jax

    return jax.default_backend() == "gpu"
