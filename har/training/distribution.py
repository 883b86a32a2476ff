"""Data-parallel training on several devices (`keras.distribution.DataParallel`).

Only on the JAX backend (docs/scale-out.md).
"""

from collections.abc import Callable, Iterable

import keras
import numpy as np

from har.errors import UserError


def start() -> None:
    """Use all visible devices. Call it before anything else of Keras; one device needs nothing."""
    on_jax = keras.backend.backend() == "jax"
    if on_jax and len(keras.distribution.list_devices()) > 1:
        parallel = keras.distribution.DataParallel(auto_shard_dataset=False)
        keras.distribution.set_distribution(parallel)


def devices(batch: int) -> int:
    """Return how many devices share a batch; a `UserError` where it does not divide evenly."""
    chosen = keras.distribution.distribution()
    n = chosen.num_model_replicas if chosen else 1
    if batch % n:
        raise UserError(
            f"Expected train.batch to be a multiple of the {n} devices. "
            f"Received: {batch}. Try {-(-batch // n) * n}."
        )
    return n


def alone(build: Callable[[], keras.Model], model: keras.Model) -> keras.Model:
    """Return `model` on one device, and end the distribution."""
    if keras.distribution.distribution() is None:
        return model
    weights = model.get_weights()
    keras.distribution.set_distribution(None)
    single = build()
    single.set_weights(weights)
    return single


def everywhere(array: np.ndarray):
    """Return `array` as a tensor that is copied to every device."""
    chosen = keras.distribution.distribution()
    if chosen is None:
        return keras.ops.convert_to_tensor(array)
    layout = keras.distribution.TensorLayout((None,) * array.ndim, chosen.device_mesh)
    return keras.distribution.distribute_tensor(array, layout)


def shardings(shapes: Iterable[tuple[int, ...]]) -> tuple | None:
    """Return JAX's shardings that divide the first axis of arrays; `None` for one device."""
    chosen = keras.distribution.distribution()
    if chosen is None:
        return None
    return tuple(chosen.get_data_layout(shape).backend_layout for shape in shapes)
