"""Rows of arrays that stay in the memory of JAX's device."""

import functools
from collections.abc import Callable


def free_accelerator_memory() -> int:
    """Return the free bytes of the device that JAX computes on; 0 on a CPU."""
    import jax

    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit", 0) - stats.get("bytes_in_use", 0)


def take(arrays: tuple, order, start: int, size: int) -> tuple:
    """Return rows `order[start:start + size]` of arrays, all on JAX's device, by one call.

    `keras.ops.take` checks and clips indices by several kernels, each started by the host. `order`
    is int32 (N,).
    """
    return tuple(_taking()(arrays, order, start, size=size))


@functools.cache
def _taking() -> Callable:
    import jax

    def take(arrays, order, start, size):
        rows = jax.lax.dynamic_slice(order, (start,), (size,))
        return [array[rows] for array in arrays]

    return jax.jit(take, static_argnames="size")
