"""Keras, loaded without its backend's start-up chatter.

While it loads, TensorFlow writes lines about missing GPUs and CPU features to standard error,
before any setting of its log level counts. They would stand between a user and every result.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def _without_standard_error() -> Iterator[None]:
    """Drop what libraries write to file descriptor 2; exceptions still come through."""
    sys.stderr.flush()
    saved = os.dup(2)
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 (a descriptor is wanted)
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


with _without_standard_error():
    import keras

    # On TensorFlow the devices are looked for, and missed, at the first operation. On JAX no
    # operation may come before the processes of several hosts have found each other.
    if keras.backend.backend() == "tensorflow":
        keras.ops.zeros(())


def fused(function: Callable) -> Callable:
    """Return `function` of tensors as one kernel of XLA where the graph around it is not XLA's.

    TensorFlow runs element-wise operations one by one, each a pass over memory. JAX compiles
    whole graphs.
    """
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    # A single eager call is over before XLA has compiled anything.
    return tf.function(function, jit_compile=True) if tf.inside_function() else function


def free_accelerator_memory() -> int:
    """Return the free bytes of the device that JAX computes on; 0 on a CPU."""
    import jax

    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit", 0) - stats.get("bytes_in_use", 0)


__all__ = ["free_accelerator_memory", "fused", "keras"]
