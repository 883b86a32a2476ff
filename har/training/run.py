"""One training, from data to a model folder: what `stages/train.py` and the trials run."""

import functools
import importlib
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from scipy.stats import binomtest

from har import files
from har.clips import splits, store
from har.clips.store import FrameStore
from har.errors import UserError
from har.nn import familiarity, model_files
from har.params import Params, Trial
from har.training import batches, calibration, fit, pretraining

PACKAGE = Path(__file__).parents[1]
CONTENT = ("model.keras", "history.csv", familiarity.FILE)  # of a model folder, beside the card


def train(
    trial: Trial,
    params: Params,
    output: Path,
    *,
    data: Path = Path("data"),
    features: Path = Path("data/features"),
) -> dict[str, Any]:
    """Train an approach on one fold from one seed, write its model folder, return the card.

    The folder has `model.keras`, `card.json`, `history.csv` and `familiarity.npz`. It appears whole
    or not at all. Kill it at any time: the next call goes on from the last finished epoch and
    writes the same bytes. `data` has frames.h5, clips.csv and split.csv.
    """
    approach = trial.approach
    settings, recipe = params.approach(approach), params.recipe(approach)
    module = importlib.import_module(f"har.models.{approach}")
    rendered = pretraining.file_of(approach, settings)
    learned = pretraining.read(rendered, approach, settings) if rendered else None
    subsets = splits.read(data / "split.csv", trial.protocol, trial.fold)
    with open_source(trial, params, data, features) as source:
        train_clips, validation = (batches.load(source, clips) for clips in subsets[:2])
        splits.check_trainable(train_clips[1], source.classes)
        key = key_of(trial, params, data=data, features=features)
        unfinished = files.folder("train", str(trial))

        def build() -> keras.Model:
            model = module.build(len(source.classes), source.shape, settings, recipe, trial.seed)
            if learned:
                pretraining.start(model, learned)
            return model

        start = time.perf_counter()
        n_classes = len(source.classes)
        if getattr(module, "LINEAR", False):
            from har.training import linear

            result = linear.fit_head(build, train_clips, validation, n_classes)
        else:
            result = fit.fit(
                build,
                train_clips,
                validation,
                n_classes=n_classes,
                learning_rate=settings.learning_rate,
                recipe=recipe,
                seed=trial.seed,
                backup=unfinished / f"{key}.npz",
            )
        if result.epochs_run:  # a time of this machine is no output
            seconds = (time.perf_counter() - start) / result.epochs_run * len(result.history)
            note = {"seconds": round(seconds, 1), "epochs": len(result.history)}
            files.write_json(times_file(trial), note)
        model = result.model
        temperature = calibration.calibrate(model, *validation, recipe.batch)
        predict = functools.partial(batches.predict, familiarity.seeing(model), batch=recipe.batch)
        known = familiarity.fit(predict(train_clips[0])[1], train_clips[1])
        passing = familiarity.threshold(np.asarray(known.score(predict(validation[0])[1])))
        clips = [clip for part in subsets for clip in part]
        card = describe(trial, source, params, data, clips, subsets.train, temperature, passing) | {
            "parameters": model.count_params(),
            "best_epoch": result.best_epoch,
            "epochs": len(result.history),
            "n_validation": len(subsets.validation),
            "weights": getattr(settings, "weights", None),
        }
        folder = unfinished / "finished"
        familiarity.save(folder / familiarity.FILE, known)
    if approach in params.features:
        from har.backbones import joined_model

        model, facts = joined_model.join(model, source.facts, params.backbones)
        card |= {"parameters": model.count_params(), **facts}
    model_files.save_model(model, folder / "model.keras")
    fit.write_history(folder / "history.csv", result.history)
    card |= {"key": key, "content": content_of(folder)}
    files.write_json(folder / "card.json", card)
    files.publish(folder, output)
    shutil.rmtree(unfinished)
    best = result.history[result.best_epoch - 1]
    print(
        f"{output}: epoch {result.best_epoch} of {len(result.history)}, validation loss "
        f"{best['val_loss']:.3f}, accuracy {best['val_accuracy']:.3f}"
    )
    n, chance = card["n_validation"], 1 / n_classes
    if binomtest(round(best["val_accuracy"] * n), n).proportion_ci().low <= chance:
        print(
            f"Warning: {n} validation clips do not show that this is better than chance, "
            f"{chance:.3f}. Add clips, or run `har teach FOLDER`, which needs fewer."
        )
    return card


def open_source(trial: Trial, params: Params, data: Path, features: Path) -> FrameStore:
    """Open what the approach reads: the frames of `data`, or its file of `features`."""
    if trial.approach in params.features:
        from har.backbones.feature_store import FeatureStore  # networks of frames do without

        return FeatureStore(features / f"{trial.approach}.h5")
    return FrameStore(data / "frames.h5")


def key_of(trial: Trial, params: Params, *, data: Path, features: Path) -> str:
    """Return a digest of all that a training depends on: data, settings, code and versions."""
    settings, recipe = params.approach(trial.approach), params.recipe(trial.approach)
    modules = f"models/{trial.approach}", "clips/splits", "clips/store"
    code = [PACKAGE / f"{name}.py" for name in modules]
    backbones = ["backbones"] if trial.approach in params.features else []
    for package in ("models/parts", "nn", "training", *backbones):
        code += sorted((PACKAGE / package).glob("*.py"))
    chosen = str([trial, recipe, settings, params.dataset.name])
    inputs = [data / "clips.csv", data / "split.csv", pretraining.file_of(trial.approach, settings)]
    with open_source(trial, params, data, features) as source:
        return files.digest(source.path, *inputs, chosen, *code, fit.versions())


def content_of(folder: Path) -> str:
    """Return a digest of the files `CONTENT` of a model folder."""
    return files.digest(*(folder / name for name in CONTENT))


def describe(
    trial: Trial,
    source: FrameStore,
    params: Params,
    data: Path,
    clips: Sequence[str],
    trained: Sequence[str],
    temperature: float,
    passing: float,
) -> dict[str, Any]:
    """Return what every card says of a training and its data.

    `clips` are of all subsets; `seconds` is the median of those `trained` on, None where unknown;
    `grouped` says whether names tell source videos. `passing` is the threshold of `unknown`.
    """
    groups = splits.read_groups(data / "split.csv")
    n_groups, wanted = len({groups[clip] for clip in clips}), set(trained)
    dataset = {"name": params.dataset.name, "clips": len(clips), "groups": n_groups}
    dataset |= {"grouped": n_groups < len(clips)}
    table = store.read_clips(data / "clips.csv")
    seconds = [c.n_frames / c.fps for c in table if c.clip in wanted and c.fps]
    return {
        **trial._asdict(),
        "classes": source.classes,
        "dataset": dataset,
        "input": source.input,
        "seconds": round(float(np.median(seconds)), 2) if seconds else None,
        "n_train": len(trained),
        "temperature": round(temperature, 4),
        "unknown_below": passing,
        **fit.versions(),
    }


def check_card(card: dict[str, Any], trial: Trial, classes: list[str], folder: Path) -> None:
    """Refuse a model trained on something else than `trial`, perhaps on its test clips."""
    for name, value in {**trial._asdict(), "classes": classes}.items():
        if card.get(name) != value:
            raise UserError(
                f"Expected a model with the {name} {value} in {folder}. "
                f"Received: {card.get(name)}. Run `dvc repro` to train it."
            )


def times_file(trial: Trial) -> Path:
    """Return the note of how long a trial's training took on this machine."""
    return files.ROOT / "times" / f"{trial}.json"
