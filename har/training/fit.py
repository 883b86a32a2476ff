"""Fit a network: early stopping on validation groups, and training that survives any kill."""

import contextlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from keras import ops
from tqdm import tqdm
from tqdm.keras import TqdmCallback

from har import files
from har.errors import UserError
from har.nn.model_files import read_arrays
from har.params import TrainParams
from har.training.batches import Batches, StoredFrames

HISTORY_COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy")
CHECK_LOSS_EVERY = 32  # steps; reading the loss synchronises with the GPU


class Fit(NamedTuple):
    """A finished training: its best model, and one row of history an epoch, counted from 1.

    Losses are in nats, without label smoothing and class weights. A resumed training runs fewer
    epochs than the history has.
    """

    model: keras.Model
    history: list[dict[str, float]]
    best_epoch: int
    epochs_run: int


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
    """Train a network and return it with the weights of its best epoch.

    Training lasts `recipe.epochs` epochs, or as many more as `recipe.steps` steps take, or until
    the validation loss has not fallen for `recipe.patience` epochs. The optimizer is AdamW
    (Loshchilov & Hutter, ICLR 2019), or Adam where `weight_decay` is 0. With `average`, the moving
    average of the weights is validated and kept (Polyak & Juditsky, 1992).

    Args:
        build: makes the network, from clips to class probabilities.
        train: frames uint8 (N, T, H, W, 3), or features, and labels int64 (N,).
        validation: the same, of other groups.
        n_classes: C.
        learning_rate: the highest of the schedule.
        recipe: the `train` section.
        seed: of initial weights, order of clips, dropout and augmentation.
        backup: file of the state after each epoch. Where it exists, training goes on from it and
            ends with the same bytes as an unbroken one.
    """
    keras.config.set_dtype_policy(recipe.precision)
    keras.utils.set_random_seed(seed)
    model = build()
    frames, labels = train
    weights = None
    if recipe.balance:  # the mean of weights is 1, and their sum is the same in each class
        counts = np.bincount(labels)
        weights = (len(labels) / (counts > 0).sum() / counts[labels]).astype(np.float32)
    one_hot = np.eye(n_classes, dtype=np.float32)
    clips = Batches(frames, one_hot[labels], recipe.batch, seed, weights)
    epochs = max(recipe.epochs, math.ceil(recipe.steps / len(clips)))
    model.compile(
        _optimizer(recipe, learning_rate, epochs * len(clips)),
        keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing),
        # Made before the first step: TensorFlow would trace that step twice.
        metrics=[
            keras.metrics.CategoricalAccuracy("accuracy"),
            keras.metrics.CategoricalCrossentropy("cross_entropy"),
        ],
        jit_compile="auto" if keras.backend.backend() == "jax" else False,
    )
    # A resumed training needs the optimizer's variables before the first step.
    model.optimizer.build(model.trainable_variables)
    state = TrainingState(backup, recipe.patience or epochs, epochs)
    state.set_model(model)
    state.restore()
    done = len(state.history)
    if not state.finished:
        clips.start_epoch(done + 1)
        validated = Batches(validation[0], one_hot[validation[1]], recipe.batch)
        look = {"desc": f"Training {model.name}", "disable": None, "mininterval": 0.5}
        bar = TqdmCallback(epochs, verbose=0, tqdm_class=tqdm, **look)
        order = keras.callbacks.LambdaCallback(on_epoch_begin=lambda n, _: clips.start_epoch(n + 1))
        # `state` comes before the swap: it reads the averaged weights that were validated.
        swap = [keras.callbacks.SwapEMAWeights()] if recipe.average else []
        with contextlib.closing(bar.epoch_bar):
            model.fit(
                clips.for_keras(),
                validation_data=validated.for_keras(),
                epochs=epochs,
                initial_epoch=done,
                callbacks=[order, state, *swap, bar],
                shuffle=False,  # Batches shuffles by seed and epoch: a resumed epoch is the same
                verbose=0,
            )
    state.restore_best()
    return Fit(model, state.history, state.best_epoch, len(state.history) - done)


def _optimizer(recipe: TrainParams, learning_rate: float, steps: int) -> keras.Optimizer:
    rate, warm_up = learning_rate, steps // 20
    if recipe.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, steps - warm_up, warmup_target=learning_rate, warmup_steps=warm_up
        )
    decay = {"weight_decay": recipe.weight_decay} if recipe.weight_decay else {}
    optimizer = (AveragedAdamW if decay else AveragedAdam)(
        rate,
        **decay,
        clipnorm=1.0,  # one steep batch can saturate the gates of a ConvLSTM for good
        use_ema=recipe.average > 0,
        ema_momentum=recipe.average or 0.99,
    )
    if decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


class _WarmAverage:
    """A moving average of weights that forgets its random start.

    With a fixed momentum m, the share of the first weights is m^n after n steps: 0.48 for m = 0.98
    and n = 36. With min(m, n / (n + 9)), as in TensorFlow's `ExponentialMovingAverage`, it is below
    0.001 after 10 steps.
    """

    def _update_model_variables_moving_average(self, trainable_variables) -> None:
        if not self.use_ema:
            return
        n = ops.cast(self.iterations, "float32")
        momentum = ops.minimum(self.ema_momentum, n / (n + 9))  # 0 at the first step
        for variable, average in zip(
            trainable_variables, self._model_variables_moving_average, strict=True
        ):
            if average is not None:
                m = ops.cast(momentum, average.dtype)
                average.assign(m * average + (1 - m) * ops.cast(variable, average.dtype))


class AveragedAdam(_WarmAverage, keras.optimizers.Adam):
    """Adam with a warm moving average of the weights."""


class AveragedAdamW(_WarmAverage, keras.optimizers.AdamW):
    """AdamW with a warm moving average of the weights."""


class TrainingState(keras.callbacks.Callback):
    """Early stopping and the state behind it, in a file that is replaced after each epoch.

    Keras's `BackupAndRestore` forgets the counters and best weights of `EarlyStopping`.
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
        try:
            saved = read_arrays(self._backup)
        except ValueError:
            return  # a damaged disk: training starts anew
        self.history = json.loads(str(saved["history"]))
        for i, variable in enumerate(self._variables()):
            variable.assign(saved[f"variable_{i}"])
        self._best = [saved[f"best_{i}"] for i in range(len(self.model.weights))]

    def restore_best(self) -> None:
        """Give the network the weights of the best epoch."""
        self.model.set_weights(self._best)

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        """Check the loss now and then: an epoch takes minutes, and a lost loss does not recover."""
        if batch % CHECK_LOSS_EVERY == CHECK_LOSS_EVERY - 1:
            self._check(loss=float(logs["loss"]))

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        """Copy the weights that were validated: averaged ones leave the network after this."""
        self._validated = self.model.get_weights()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Record the epoch, keep the best weights, save, and stop when patience is over."""
        self._check(loss=float(logs["loss"]))
        names = ("cross_entropy", "accuracy", "val_cross_entropy", "val_accuracy")
        figures = (float(logs[name]) for name in names)
        row = dict(zip(HISTORY_COLUMNS[1:], figures, strict=True))
        self._check(**row)
        self.history.append({"epoch": epoch + 1, **row})
        if self.best_epoch == epoch + 1:
            self._best = self._validated
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
        return [*self.model.variables, *self.model.optimizer.variables]

    def _save(self) -> None:
        arrays = {f"variable_{i}": np.asarray(v) for i, v in enumerate(self._variables())}
        arrays |= {f"best_{i}": array for i, array in enumerate(self._best)}
        self._backup.parent.mkdir(parents=True, exist_ok=True)
        part = self._backup.with_suffix(".part.npz")
        np.savez(part, history=json.dumps(self.history), **arrays)
        part.replace(self._backup)


def versions() -> dict[str, str]:
    """Return what a training depends on besides data, params and our code."""
    return {"backend": keras.backend.backend(), "keras": keras.__version__}


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """Write history.csv: one row an epoch."""
    rows = [[row["epoch"], *(f"{row[c]:.6f}" for c in HISTORY_COLUMNS[1:])] for row in history]
    files.write_csv(path, HISTORY_COLUMNS, rows)
