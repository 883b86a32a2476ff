"""Settings of a whole process: entry points call `prepare` before Keras loads, libraries never."""

import contextlib
import functools
import logging
import os
import sys
from collections.abc import Iterator

from har import files

# Keras loads these where they are installed, for wrappers and plots that `har` does not use.
_UNUSED = ("matplotlib", "matplotlib.pyplot", "pandas", "sklearn")


@functools.cache
def prepare() -> None:
    """Set up the process and load Keras, in less time and without TensorFlow's start-up lines.

    Environment variables that are set stay. Without the unused modules Keras 3.15 loads in 3.1 s
    of processor time instead of 5.9 s, measured with TensorFlow 2.21.
    """
    for name, value in {
        # The same seed gives the same weights, bit for bit.
        "TF_DETERMINISTIC_OPS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # TensorFlow uses oneDNN's convolutions by default on some processors only.
        "TF_ENABLE_ONEDNN_OPTS": "1",
        # JAX tries which convolution is the quickest: half a minute a network on a GPU.
        "JAX_COMPILATION_CACHE_DIR": str(files.cache_folder() / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_COMPILATION_CACHE_MAX_SIZE": str(1 << 30),
    }.items():
        os.environ.setdefault(name, value)
    # TensorFlow writes its first lines before any setting of its log level counts.
    with without_standard_error(), _without_modules(*_UNUSED):
        import keras

        # TensorFlow looks for devices at the first operation. On JAX no operation may come before
        # the processes of several hosts are connected.
        if keras.backend.backend() == "tensorflow":
            keras.ops.zeros(())
    logging.getLogger("tensorflow").addFilter(_is_not_about_retracing)


def _is_not_about_retracing(record: logging.LogRecord) -> bool:
    # TensorFlow takes the functions of several networks for one that is traced again and again.
    return "tf.function retracing" not in record.getMessage()


@contextlib.contextmanager
def without_standard_error() -> Iterator[None]:
    """Drop what is written to file descriptor 2. Exceptions still come through."""
    sys.stderr.flush()
    saved = os.dup(2)
    with open(os.devnull, "wb") as null:  # noqa: PTH123 (a descriptor is needed)
        os.dup2(null.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


@contextlib.contextmanager
def _without_modules(*names: str) -> Iterator[None]:
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # importing None fails
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
