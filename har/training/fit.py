"""Fit a network: early stopping on validation groups, and training that survives any kill."""

import contextlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from har import files
from har.errors import UserError
from har.nn.backend import keras
from har.params import TrainParams
from har.training import distribution
from har.training.batches import Batches, StoredFrames

HISTORY_COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy")
_LOOK = 32  # steps; a look at a figure waits for the GPU


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
    train: tuple[np.ndarray | StoredFrames, np.ndarray],
    validation: tuple[np.ndarray | StoredFrames, np.ndarray],
    *,
    n_classes: int,
    learning_rate: float,
    recipe: TrainParams,
    seed: int,
    backup: Path,
) -> Fit:
    """Train until the validation loss has not fallen for `recipe.patience` epochs.

    The optimizer is AdamW (Loshchilov & Hutter, Decoupled Weight Decay Regularization, ICLR 2019;
    Adam where `weight_decay` is 0). With `average`, what is validated and kept is the moving
    average of the weights, not the weights themselves (Polyak & Juditsky, 1992). `balance` weighs
    each clip by the inverse share of its class, so that classes count the same.

    Args:
        build: makes the network, from clips to class probabilities.
        train: frames uint8 (N, T, H, W, 3), or features, and labels int64 (N,).
        validation: the same, of groups that are neither in training nor in test.
        n_classes: number of classes.
        learning_rate: at its highest.
        recipe: the `train` section.
        seed: of initial weights, order of clips, dropout and augmentation.
        backup: file that keeps the state after each epoch; where it exists, training goes on
            from it and ends with the same bytes as an unbroken one.

    Returns:
        The network with the weights of the best epoch, and how it went.

    Raises:
        UserError: the loss is not a number any more.
    """
    keras.config.set_dtype_policy(recipe.precision)
    keras.utils.set_random_seed(seed)
    model = build()
    weights = _weights(train[1]) if recipe.balance else None
    clips = Batches(train[0], _one_hot(train[1], n_classes), recipe.batch, seed, weights)
    model.compile(
        _optimizer(recipe, learning_rate, recipe.epochs * len(clips)),
        keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing),
        # Made here: one that is made at the first step has TensorFlow trace that step twice.
        metrics=[keras.metrics.CategoricalAccuracy("accuracy")],
        jit_compile="auto" if keras.backend.backend() == "jax" else False,
    )
    # Adam makes its moments at the first step; a resumed training needs a place for them before.
    model.optimizer.build(model.trainable_variables)
    state = TrainingState(backup, recipe.patience, recipe.epochs)
    state.set_model(model)
    state.restore()
    if not state.finished:
        clips.start_epoch(len(state.history) + 1)
        bar = ProgressBar(model.name, recipe.epochs, len(train[1]), recipe.batch)
        # The averaged weights are in the network while it is validated, which is when `state`
        # looks at them: it has to come first.
        swap = [keras.callbacks.SwapEMAWeights()] if recipe.average else []
        order = keras.callbacks.LambdaCallback(on_epoch_begin=lambda n, _: clips.start_epoch(n + 1))
        with contextlib.closing(bar):
            model.fit(
                clips.for_keras(),
                validation_data=Batches(
                    validation[0], _one_hot(validation[1], n_classes), recipe.batch
                ).for_keras(),
                epochs=recipe.epochs,
                initial_epoch=len(state.history),
                callbacks=[order, state, *swap, bar],
                shuffle=False,  # Batches shuffles itself, so that a resumed epoch is the same
                verbose=0,
            )
    state.restore_best()
    return Fit(model, state.history, state.best_epoch)


def _one_hot(labels: np.ndarray, n_classes: int) -> np.ndarray:
    return np.eye(n_classes, dtype=np.float32)[labels]


def _weights(labels: np.ndarray) -> np.ndarray:
    """Return float32 weights of clips, whose mean is 1 and whose sum is the same in each class."""
    counts = np.bincount(labels)
    return (len(labels) / (counts > 0).sum() / counts[labels]).astype(np.float32)


def _optimizer(recipe: TrainParams, learning_rate: float, steps: int) -> keras.Optimizer:
    rate = learning_rate
    if recipe.schedule == "cosine":
        warm_up = steps // 20
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, steps - warm_up, warmup_target=learning_rate, warmup_steps=warm_up
        )
    decay = {"weight_decay": recipe.weight_decay} if recipe.weight_decay else {}
    optimizer = (keras.optimizers.AdamW if decay else keras.optimizers.Adam)(
        rate,
        **decay,
        # A rare steep batch would throw a ConvLSTM's tanh gates into saturation for good.
        clipnorm=1.0,
        use_ema=recipe.average > 0,
        ema_momentum=recipe.average or 0.99,
    )
    if decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


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
        self._validated: list[np.ndarray] = []

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

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Look at the loss now and then: an epoch takes minutes, and once lost it stays so."""
        if batch % _LOOK == _LOOK - 1:
            self._check(loss=float((logs or {})["loss"]))

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        """Take the weights that were validated: averaged ones leave the network after this."""
        self._validated = self.model.get_weights()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Note the epoch, keep what is best, save, and stop when patience is over."""
        row = {name: float((logs or {})[name]) for name in HISTORY_COLUMNS[1:]}
        self._check(**row)
        self.history.append({"epoch": epoch + 1, **row})
        if self.best_epoch == epoch + 1:
            self._best = self._validated
        if distribution.share().process == 0:
            self._save()
        self.model.stop_training = self.finished

    def _check(self, **figures: float) -> None:
        for name, value in figures.items():
            if not math.isfinite(value):
                raise UserError(
                    f"Expected a finite {name.replace('val_', 'validation ')}. "
                    f"Received: {value} in epoch {len(self.history) + 1}. "
                    f"Lower {self.model.name}.learning_rate, or set train.precision to float32."
                )

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
    files.write_csv(path, HISTORY_COLUMNS, rows)
