"""Rows of arrays that stay in the memory of JAX's devices."""

import functools
import math
from collections.abc import Callable

import numpy as np


def free_accelerator_memory() -> int:
    """Return the free bytes of the device that JAX computes on; 0 on a CPU."""
    import jax

    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit", 0) - stats.get("bytes_in_use", 0)


def words(array: np.ndarray) -> np.ndarray:
    """View rows of 4·M bytes as M uint32, which a GPU gathers 1.6 times as fast; else `array`."""
    n_bytes = math.prod(array.shape[1:])
    if array.dtype != np.uint8 or n_bytes == 0 or n_bytes % 4:
        return array
    return np.ascontiguousarray(array).reshape(len(array), n_bytes).view(np.uint32)


def take(
    arrays: tuple,
    order,
    start: int,
    size: int,
    shapes: tuple[tuple[int, ...], ...],
) -> tuple:
    """Return rows `order[start:start + size]` of arrays, all on JAX's devices, by one call.

    `keras.ops.take` checks and clips indices by several kernels, each started by the host. Arrays
    are as `words` returns them, `order` is int32 (N,), `shapes` are those of a row before `words`.
    """
    return tuple(_taking()(arrays, order, start, size=size, shapes=shapes))


@functools.cache
def _taking() -> Callable:
    import jax

    def take(arrays, order, start, size, shapes):
        rows = jax.lax.dynamic_slice(order, (start,), (size,))
        taken = [array[rows] for array in arrays]
        for i, shape in enumerate(shapes):
            if taken[i].shape[1:] != shape:
                as_bytes = jax.lax.bitcast_convert_type(taken[i], np.uint8)
                taken[i] = as_bytes.reshape(size, *shape)
        return taken

    return jax.jit(take, static_argnames=("size", "shapes"))
