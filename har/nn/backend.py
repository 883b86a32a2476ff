"""Keras, loaded without its backend's start-up chatter, in half the time.

While it loads, TensorFlow writes lines about missing GPUs and CPU features to standard error,
before any setting of its log level counts. They would stand between a user and every result.

Keras loads what it finds installed, and does without what it doesn't: wrappers of scikit-learn,
galleries of pictures, tables of pandas. Nobody uses them here, so Keras does not find them. For
`keras.wrappers`, `keras.visualization` or tables beside `har`, import `keras` before `har`.
"""

import contextlib
import ctypes
import functools
import gc
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator

import numpy as np

from har import files


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


@contextlib.contextmanager
def _without_modules(*names: str) -> Iterator[None]:
    """Have modules that are not loaded yet look as if they were not installed."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # None, at which an import fails
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


@contextlib.contextmanager
def _without_collections() -> Iterator[None]:
    """Do not look for garbage among what is loaded here, now or later: modules stay.

    A million objects, and looking at them time and again is a sixth of the time to load them.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()


def _keep_freed_memory() -> None:
    """Have the C library keep freed memory for the next allocation, where it is glibc.

    TensorFlow allocates the result of every operation anew. By default glibc hands tensors of over
    32 MB back to the system at once, which then has to find and zero their pages again and again:
    on a virtual machine up to half of a training step. See mallopt(3).
    """
    if sys.platform != "linux" or not hasattr(libc := ctypes.CDLL(None), "mallopt"):
        return
    trim_threshold, top_pad, mmap_max, arena_max = -1, -2, -4, -8
    for option, value in (
        (arena_max, 1),  # only the main arena takes large blocks without mapping them
        (mmap_max, 0),
        (trim_threshold, -1),  # never
        (top_pad, 1 << 26),  # bytes by which it grows
    ):
        libc.mallopt(option, value)
    # What is to come lies in pages of 2 MB where the system has them: fewer to find, a tenth of a
    # step. Address space alone is taken here, no memory.
    page, size, advice = 2 << 20, 4 << 30, 14  # MADV_HUGEPAGE
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if block := libc.malloc(size):
        first = -(-block // page) * page
        libc.madvise(first, size - page, advice)
        libc.free(block)


_keep_freed_memory()
# What JAX has compiled for this machine is kept for later runs: trying which convolution is the
# quickest takes a GPU half a minute a network, and each fold and seed is a process of its own.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(files.cache_folder() / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(1 << 30))
# TensorFlow takes these convolutions of itself on some processors only; others gain as much.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
_UNUSED = ("matplotlib", "matplotlib.pyplot", "pandas", "sklearn")
with _without_standard_error(), _without_modules(*_UNUSED), _without_collections():
    import keras

    # On TensorFlow the devices are looked for, and missed, at the first operation. On JAX no
    # operation may come before the processes of several hosts have found each other.
    if keras.backend.backend() == "tensorflow":
        keras.ops.zeros(())

# Each network predicts by a function of its own, traced once. TensorFlow takes all of them for one
# that is traced time and again, and says so at length.
logging.getLogger("tensorflow").addFilter(lambda r: "tf.function retracing" not in r.getMessage())


def fused(function: Callable) -> Callable:
    """Return `function` of tensors as one kernel of XLA where the graph around it is not XLA's.

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


def free_accelerator_memory() -> int:
    """Return the free bytes of the device that JAX computes on; 0 on a CPU."""
    import jax

    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit", 0) - stats.get("bytes_in_use", 0)


def words(array: np.ndarray) -> np.ndarray:
    """Return rows of bytes as rows of words of 32 bits, which a GPU gathers 1.6 times as fast.

    Args:
        array: (N, …), of any type.

    Returns:
        uint32 (N, M) where a row is uint8 of 4·M bytes, M ≥ 1: the same memory if it is contiguous.
        Else `array`.
    """
    n_bytes = math.prod(array.shape[1:])
    if array.dtype != np.uint8 or n_bytes == 0 or n_bytes % 4:
        return array
    return np.ascontiguousarray(array).reshape(len(array), n_bytes).view(np.uint32)


@functools.cache
def _taking() -> Callable:
    import jax

    def take(arrays, order, start, size, shapes, shardings):
        rows = jax.lax.dynamic_slice(order, (start,), (size,))
        taken = [array[rows] for array in arrays]
        for i, shape in enumerate(shapes):
            if taken[i].shape[1:] != shape:
                as_bytes = jax.lax.bitcast_convert_type(taken[i], np.uint8)
                taken[i] = as_bytes.reshape(size, *shape)
        return jax.lax.with_sharding_constraint(tuple(taken), shardings) if shardings else taken

    return jax.jit(take, static_argnames=("size", "shapes", "shardings"))


def take(
    arrays: tuple,
    order,
    start: int,
    size: int,
    shapes: tuple[tuple[int, ...], ...],
    shardings: tuple | None = None,
) -> tuple:
    """Return rows `order[start:start + size]` of arrays, all on JAX's devices, by one call.

    `keras.ops.take` checks and clips indices by several kernels, each started by the host.

    Args:
        arrays: whose rows are wanted, as `words` gives them.
        order: int32 (N,), indices of rows.
        start: of the rows in `order`.
        size: number of rows; each is compiled for once.
        shapes: of a row of each array, before `words`.
        shardings: JAX's, of what is returned; `None`: as `arrays` have it.
    """
    return tuple(_taking()(arrays, order, start, size=size, shapes=shapes, shardings=shardings))


__all__ = ["free_accelerator_memory", "fused", "keras", "on_gpu", "take", "words"]
