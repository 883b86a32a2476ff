"""Fit a network: early stopping on validation groups, and training that survives any kill."""

import contextlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from har import work
from har.backend import keras
from har.errors import UserError

HISTORY_COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy")


class Batches(keras.utils.PyDataset):
    """Clips in batches, cut from one uint8 array that is never copied as a whole.

    Args:
        frames: uint8 (N, T, H, W, 3) RGB.
        labels: int64 (N,).
        batch: clips a batch; the last one may be smaller.
        seed: shuffle anew each epoch, by seed and epoch alone; `None` keeps the order.
    """

    def __init__(
        self, frames: np.ndarray, labels: np.ndarray, batch: int, seed: int | None = None
    ) -> None:
        super().__init__()
        self._frames, self._labels = frames, labels
        self._batch, self._seed = batch, seed
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Put the clips in the order of `epoch`, counted from 0."""
        self.epoch = epoch
        self._order = np.arange(len(self._labels))
        if self._seed is not None:
            np.random.default_rng([self._seed, epoch]).shuffle(self._order)

    def on_epoch_end(self) -> None:
        """Go to the next epoch; called by Keras."""
        self.start_epoch(self.epoch + 1)

    def __len__(self) -> int:
        return math.ceil(len(self._labels) / self._batch)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self._order[index * self._batch : (index + 1) * self._batch]
        return self._frames[rows], self._labels[rows]


class Fit(NamedTuple):
    """A finished training.

    Attributes:
        model: with the weights of the best epoch.
        history: one row an epoch, as in `HISTORY_COLUMNS`; epochs count from 1.
        best_epoch: the epoch with the lowest validation loss.
    """

    model: keras.Model
    history: list[dict[str, float]]
    best_epoch: int


def fit(
    build: Callable[[], keras.Model],
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    *,
    learning_rate: float,
    schedule: str,
    epochs: int,
    batch: int,
    patience: int,
    precision: str,
    seed: int,
    backup: Path,
) -> Fit:
    """Train with Adam until the validation loss has not fallen for `patience` epochs.

    Args:
        build: makes the network, from uint8 clips to class probabilities.
        train: frames uint8 (N, T, H, W, 3) and labels int64 (N,).
        validation: the same, of groups that are neither in training nor in test.
        learning_rate: of Adam, at its highest.
        schedule: `constant`, or `cosine`: up in a straight line over the first twentieth of all
            steps, then down to 0 along a cosine (Loshchilov & Hutter, SGDR, ICLR 2017).
        epochs: at most.
        batch: clips a step.
        patience: epochs.
        precision: Keras dtype policy.
        seed: of initial weights, order of clips, dropout and augmentation.
        backup: file that keeps the state after each epoch; where it exists, training goes on
            from it and ends with the same bytes as an unbroken one.

    Returns:
        The network with the weights of the best epoch, and how it went.

    Raises:
        UserError: the loss is not a number any more.
    """
    keras.config.set_dtype_policy(precision)
    keras.utils.set_random_seed(seed)
    model = build()
    clips = Batches(*train, batch, seed)
    model.compile(
        # A rare steep batch would throw the ConvLSTM's tanh gates into saturation for good.
        keras.optimizers.Adam(
            _schedule(schedule, learning_rate, epochs * len(clips)), clipnorm=1.0
        ),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile="auto" if keras.backend.backend() == "jax" else False,
    )
    # Adam makes its moments at the first step; a resumed training needs a place for them before.
    model.optimizer.build(model.trainable_variables)
    state = TrainingState(backup, patience, epochs)
    state.set_model(model)
    state.restore()
    if not state.finished:
        clips.start_epoch(len(state.history))
        bar = ProgressBar(model.name, epochs, len(train[1]), batch)
        with contextlib.closing(bar):
            model.fit(
                clips,
                validation_data=Batches(*validation, batch),
                epochs=epochs,
                initial_epoch=len(state.history),
                callbacks=[state, bar],
                shuffle=False,  # Batches shuffles itself, so that a resumed epoch is the same
                verbose=0,
            )
    state.restore_best()
    return Fit(model, state.history, state.best_epoch)


def _schedule(name: str, learning_rate: float, steps: int):
    if name == "constant":
        return learning_rate
    warm_up = steps // 20
    return keras.optimizers.schedules.CosineDecay(
        0.0, steps - warm_up, warmup_target=learning_rate, warmup_steps=warm_up
    )


class TrainingState(keras.callbacks.Callback):
    """Early stopping and the state behind it, in a file that is replaced after each epoch.

    Keras's `BackupAndRestore` forgets the counters and the best weights of `EarlyStopping`; with
    all of it in one file, a resumed training is the unbroken one.
    """

    def __init__(self, backup: Path, patience: int, epochs: int) -> None:
        super().__init__()
        self._backup, self._patience, self._epochs = backup, patience, epochs
        self.history: list[dict[str, float]] = []
        self._best: list[np.ndarray] = []

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest validation loss, from 1; the first of equals."""
        return 1 + int(np.argmin([row["val_loss"] for row in self.history]))

    @property
    def finished(self) -> bool:
        """Whether there is no epoch left to train."""
        n = len(self.history)
        return n >= self._epochs or (n > 0 and n - self.best_epoch >= self._patience)

    def restore(self) -> None:
        """Take the state from the file, if there is one."""
        if not self._backup.exists():
            return
        with np.load(self._backup, allow_pickle=False) as saved:
            self.history = json.loads(str(saved["history"]))
            variables = self._variables()
            for i, variable in enumerate(variables):
                variable.assign(saved[f"variable_{i}"])
            n_weights = len(self.model.weights)
            self._best = [saved[f"best_{i}"] for i in range(n_weights)]

    def restore_best(self) -> None:
        """Give the network the weights of the best epoch."""
        self.model.set_weights(self._best)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Note the epoch, keep what is best, save, and stop when patience is over."""
        row = {name: float((logs or {})[name]) for name in HISTORY_COLUMNS[1:]}
        if not all(map(math.isfinite, row.values())):
            raise UserError(
                f"Expected a finite loss. Received: {row['loss']} in epoch {epoch + 1}. "
                f"Lower {self.model.name}.learning_rate, or set train.precision to float32."
            )
        self.history.append({"epoch": epoch + 1, **row})
        if self.best_epoch == epoch + 1:
            self._best = self.model.get_weights()
        self._save()
        self.model.stop_training = self.finished

    def _variables(self) -> list[keras.Variable]:
        """All that training changes: weights, seeds of random layers, optimizer state."""
        return [*self.model.variables, *self.model.optimizer.variables]

    def _save(self) -> None:
        arrays = {f"variable_{i}": np.asarray(v) for i, v in enumerate(self._variables())}
        arrays |= {f"best_{i}": array for i, array in enumerate(self._best)}
        self._backup.parent.mkdir(parents=True, exist_ok=True)
        part = self._backup.with_suffix(".part.npz")
        np.savez(part, history=json.dumps(self.history), **arrays)
        part.replace(self._backup)


class ProgressBar(keras.callbacks.Callback):
    """One line for a training: clips seen, rate, time left, epoch, loss and accuracy."""

    def __init__(self, name: str, epochs: int, n_clips: int, batch: int) -> None:
        super().__init__()
        self._name, self._epochs, self._n_clips, self._batch = name, epochs, n_clips, batch
        self._bar: tqdm | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Open the bar at the first epoch of this run."""
        if self._bar is None:
            total = self._epochs * self._n_clips
            self._bar = tqdm(
                total=total,
                initial=epoch * self._n_clips,
                desc=f"Training {self._name}",
                unit="clip",
                mininterval=0.5,
                disable=None,
            )
        self._seen = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Count the batch's clips."""
        n = min(self._batch, self._n_clips - self._seen)
        self._seen += n
        self._bar.update(n)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Show the epoch's figures."""
        figures = {name: f"{value:.3f}" for name, value in (logs or {}).items()}
        self._bar.set_postfix({"epoch": f"{epoch + 1}/{self._epochs}", **figures})

    def close(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()


def versions() -> dict[str, str]:
    """Return what a training depends on besides data, params and our code."""
    return {"backend": keras.backend.backend(), "keras": keras.__version__}


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """Write history.csv: one row an epoch."""
    rows = [[row["epoch"], *(f"{row[c]:.6f}" for c in HISTORY_COLUMNS[1:])] for row in history]
    work.write_csv(path, HISTORY_COLUMNS, rows)
