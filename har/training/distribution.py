"""Data-parallel training on several devices and hosts (`keras.distribution.DataParallel`).

Only on the JAX backend. docs/scale-out.md shows how to start it.
"""

import os
from collections.abc import Callable, Iterable
from typing import NamedTuple

import keras
import numpy as np

from har.errors import UserError

VARIABLES = (
    "KERAS_DISTRIBUTION_JOB_ADDRESSES",
    "KERAS_DISTRIBUTION_NUM_PROCESSES",
    "KERAS_DISTRIBUTION_PROCESS_ID",
)


class Share(NamedTuple):
    """How a batch is divided: devices of all processes, processes, this one's index from 0."""

    devices: int = 1
    processes: int = 1
    process: int = 0

    def check(self, batch: int) -> None:
        """Raise a `UserError` where `batch` clips do not divide evenly."""
        if batch % self.devices:
            raise UserError(
                f"Expected train.batch to be a multiple of the {self.devices} devices. "
                f"Received: {batch}. Try {-(-batch // self.devices) * self.devices}."
            )

    def part(self, rows: np.ndarray) -> np.ndarray:
        """Return this process's part of the rows of a batch, a multiple of `devices`."""
        n = len(rows) // self.processes
        return rows[self.process * n : (self.process + 1) * n] if self.processes > 1 else rows


def start() -> Share:
    """Join the processes that the environment names, use all visible devices; return the share.

    Call it before anything else of Keras. With one process and one device it does nothing.
    """
    given = {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}
    if keras.backend.backend() != "jax":
        if given:
            raise UserError(
                f"Expected KERAS_BACKEND=jax to train with several processes. Received: "
                f"{keras.backend.backend()} and {', '.join(given)}. Unset these or change that."
            )
        return share()
    if given:
        _join(given)
    if len(keras.distribution.list_devices()) > 1:
        # Each process cuts its own part out of every batch.
        parallel = keras.distribution.DataParallel(auto_shard_dataset=False)
        keras.distribution.set_distribution(parallel)
    return share()


def _join(given: dict[str, str]) -> None:
    missing = [name for name in VARIABLES if name not in given]
    if missing:
        raise UserError(
            f"Expected all of {', '.join(VARIABLES)}. Received: no {' and no '.join(missing)}. "
            "docs/scale-out.md has an example."
        )
    addresses, *numbers = (given[name] for name in VARIABLES)
    if not all(map(str.isdecimal, numbers)) or int(numbers[1]) >= int(numbers[0]):
        raise UserError(
            f"Expected a number of processes and one from 0 to below it. Received: "
            f"{VARIABLES[1]}={numbers[0]} and {VARIABLES[2]}={numbers[1]}. Change them."
        )
    try:
        keras.distribution.initialize(addresses, *map(int, numbers))
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"Expected {numbers[0]} processes to meet at {addresses}. Received: {error}. "
            "Start all of them, with the same addresses, within five minutes."
        ) from None


def share() -> Share:
    """Return how batches are divided."""
    chosen = keras.distribution.distribution()
    if chosen is None:
        return Share()
    import jax  # only this backend has a distribution

    return Share(chosen.num_model_replicas, jax.process_count(), jax.process_index())


def alone(build: Callable[[], keras.Model], model: keras.Model) -> keras.Model:
    """Return `model` on one device of this process, and end the distribution."""
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
