"""One trial: an approach trained and tested on one fold of a protocol, from one seed.

What `stages/trial.py` runs for every cell of the comparison, and what cross-validation repeats.
"""

import importlib
import json
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from har import files
from har.backbones.feature_store import FeatureStore
from har.clips import splits, store
from har.comparison import measured
from har.evaluation import metrics, predictions
from har.evaluation.predictions import Predictions
from har.nn import backend, layers, model_files, preprocessing, space_to_depth
from har.nn.backend import keras
from har.params import Params, Trial
from har.training import batches, calibration, distribution, fit


class Outcome(NamedTuple):
    """A finished trial.

    Attributes:
        model: from what the approach reads, frames or features, to probabilities.
        history: rows of history.csv.
        tested: what it predicted of the test fold.
        card: what card.json tells of the training.
        unfinished: folder of the state of training, to be removed when the outcome is kept.
    """

    model: keras.Model
    history: list[dict[str, float]]
    tested: Predictions
    card: dict[str, Any]
    unfinished: Path


def store_of(approach: str, params: Params, data: Path) -> tuple[type[store.FrameStore], Path]:
    """Return what an approach reads: frames, or the features that `stages/features.py` made."""
    if approach in params.features:
        return FeatureStore, data / "features" / f"{approach}.h5"
    return store.FrameStore, data / "frames.h5"


def run(trial: Trial, params: Params, data: Path = Path("data")) -> Outcome:
    """Train and test.

    Args:
        trial: what is tried; its seed, protocol and fold stand in for those of `params`.
        params: the whole of params.yaml.
        data: the folder of the stores and of split.csv.

    Raises:
        UserError: the approach, its section, its data or the fold are not there.
    """
    settings, recipe = params.approach(trial.approach), params.recipe(trial.approach)
    module = importlib.import_module(f"har.models.{trial.approach}")
    split = data / "split.csv"
    subsets = splits.read(split, trial.protocol, trial.fold)
    groups = splits.read_groups(split)
    kind, path = store_of(trial.approach, params, data)
    with kind(path) as source:
        train, validation, tested = (batches.load(source, clips) for clips in subsets)
        n_classes = len(source.classes)
        splits.check_trainable(train[1], source.classes)
        # The helpers of har.models are small: an edit of any starts a training anew.
        helpers = sorted(Path(str(module.__file__)).parent.glob("*.py"))
        code = [*helpers, preprocessing, layers, space_to_depth, backend, batches, fit]
        chosen = str([trial, recipe, settings])
        key = files.digest(path, split, chosen, *code, fit.versions())
        unfinished = files.folder("trials", str(trial))
        backup = unfinished / f"{key}.npz"
        done = _epochs_done(backup)

        def build() -> keras.Model:
            return module.build(n_classes, source.shape, settings, recipe, trial.seed)

        start = time.perf_counter()
        fitted = fit.fit(
            build,
            train,
            validation,
            n_classes=n_classes,
            learning_rate=settings.learning_rate,
            recipe=recipe,
            seed=trial.seed,
            backup=backup,
        )
        seconds = time.perf_counter() - start
        model = distribution.alone(build, fitted.model)
        temperature = calibration.calibrate(model, *validation, recipe.batch)
        said = Predictions(
            subsets.test,
            [groups[clip] for clip in subsets.test],
            tested[1],
            metrics.predict(model, tested[0], recipe.batch),
            source.classes,
        )
        shape = source.shape
    epochs = len(fitted.history)
    card = {
        "approach": trial.approach,
        "protocol": trial.protocol,
        "fold": trial.fold,
        "seed": trial.seed,
        "classes": said.classes,
        "input": list(shape),
        "temperature": round(temperature, 4),
        "best_epoch": fitted.best_epoch,
        "epochs": epochs,
        "n_train": len(subsets.train),
        "n_validation": len(subsets.validation),
        "n_test": len(subsets.test),
        # A training that was resumed is told as long as its epochs here make it.
        "train_seconds": measured.once(
            "training", key, lambda: round(seconds * epochs / max(epochs - done, 1), 1)
        ),
        **fit.versions(),
    }
    return Outcome(model, fitted.history, said, card, unfinished)


def _epochs_done(backup: Path) -> int:
    if not backup.exists():
        return 0
    with np.load(backup, allow_pickle=False) as saved:
        return len(json.loads(str(saved["history"])))


def write(outcome: Outcome, facts: dict[str, Any], output: Path) -> None:
    """Write model.keras, history.csv, predictions.csv and card.json, all or none of them.

    Args:
        outcome: of the trial.
        facts: further entries of card.json.
        output: the folder.
    """
    folder = outcome.unfinished / "finished"
    model_files.save_model(outcome.model, folder / "model.keras")
    fit.write_history(folder / "history.csv", outcome.history)
    predictions.write(folder / "predictions.csv", outcome.tested)
    files.write_text(folder / "card.json", json.dumps(outcome.card | facts, indent=2) + "\n")
    files.publish(folder, output)
    shutil.rmtree(outcome.unfinished)
