"""Train one approach from scratch.

Command: python stages/train.py convlstm | lrcn | any other module of har.models that reads frames
Inputs: data/frames.h5, data/split.csv; params.yaml (seed, split.protocol, split.fold, train and
    the section of the approach).
Outputs: models/<approach>/: model.keras, history.csv, card.json
Cost: on 2 cores about 40 clips a second, times epochs. Kill it at any time: the next run goes on
    from the last finished epoch.
Several GPUs or hosts: docs/scale-out.md
"""

# ruff: noqa: E402 (Keras loads after prepare)
from har.nn import process

process.prepare()

import importlib
import json
import shutil
import sys
from pathlib import Path

from har import files
from har.clips import splits
from har.clips.store import FrameStore
from har.errors import run
from har.models.parts import on_clips, residual_cnn
from har.nn import model_files
from har.params import load
from har.training import batches, calibration, distribution, fit

FRAMES = Path("data/frames.h5")
SPLIT = Path("data/split.csv")


def train() -> None:
    """Train the approach named on the command line."""
    approach = " ".join(sys.argv[1:])
    share = distribution.start()
    params = load()
    settings, recipe = params.approach(approach), params.recipe(approach)
    module = importlib.import_module(f"har.models.{approach}")
    subsets = splits.read(SPLIT, params.split.protocol, params.split.fold)
    with FrameStore(FRAMES) as store:
        data, validation = (
            batches.load(store, clips) for clips in (subsets.train, subsets.validation)
        )
        classes, shape = store.classes, store.shape
        splits.check_trainable(data[1], classes)
        code = [
            module,
            on_clips,
            residual_cnn,
            *sorted(Path(str(model_files.__file__)).parent.glob("*.py")),
            batches,
            fit,
        ]
        chosen = [params.seed, params.split.protocol, params.split.fold, recipe, settings]
        key = files.digest(FRAMES, SPLIT, *map(str, chosen), *code, fit.versions())
        backup = files.folder("train", approach)

        def build():
            return module.build(len(classes), shape, settings, recipe, params.seed)

        result = fit.fit(
            build,
            data,
            validation,
            n_classes=len(classes),
            learning_rate=settings.learning_rate,
            recipe=recipe,
            seed=params.seed,
            backup=backup / f"{key}.npz",
        )
        if share.process:
            return  # the first process writes
        model = distribution.alone(build, result.model)
        temperature = calibration.calibrate(model, *validation, recipe.batch)

    card = {
        "approach": approach,
        "classes": classes,
        "frames": dict(zip(("count", "height", "width"), shape, strict=True)),
        "parameters": model.count_params(),
        "temperature": round(temperature, 4),
        "best_epoch": result.best_epoch,
        "epochs": len(result.history),
        "n_train": len(subsets.train),
        "n_validation": len(subsets.validation),
        "protocol": params.split.protocol,
        "fold": params.split.fold,
        "seed": params.seed,
        **fit.versions(),
    }
    folder = files.folder("train", f"{approach}-{key}")
    model_files.save_model(model, folder / "model.keras")
    fit.write_history(folder / "history.csv", result.history)
    files.write_text(folder / "card.json", json.dumps(card, indent=2) + "\n")
    files.publish(folder, Path("models") / approach)
    shutil.rmtree(backup)
    best = result.history[result.best_epoch - 1]
    print(
        f"models/{approach}: epoch {result.best_epoch} of {len(result.history)}, "
        f"validation loss {best['val_loss']:.3f}, accuracy {best['val_accuracy']:.3f}"
    )


if __name__ == "__main__":
    run(train)
