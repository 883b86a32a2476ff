"""Keras, loaded without its backend's start-up chatter.

While it loads, TensorFlow writes lines about missing GPUs and CPU features to standard error,
before any setting of its log level counts. They would stand between a user and every result.
"""

import contextlib
import os
import sys
from collections.abc import Iterator


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

    # On TensorFlow the devices are looked for, and missed, at the first operation.
    keras.ops.zeros(())

__all__ = ["keras"]
