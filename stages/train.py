"""Train one approach from scratch.

Command: python stages/train.py convlstm | lrcn
Inputs: data/frames.h5, data/split.csv; params.yaml (seed, split.protocol, split.fold, train and
    the section of the approach).
Outputs: models/<approach>/: model.keras, history.csv, card.json
Cost: on 2 cores about 50 clips a second with ConvLSTM and 250 with LRCN, times epochs. Kill it
    at any time: the next run goes on from the last finished epoch.
"""

import importlib
import json
import shutil
import sys
from pathlib import Path

from har import layers, saving, splits, training, work
from har.errors import UserError, run
from har.models import inputs
from har.params import load
from har.store import FrameStore

FRAMES = Path("data/frames.h5")
SPLIT = Path("data/split.csv")
APPROACHES = ("convlstm", "lrcn")


def train() -> None:
    """Train the approach named on the command line."""
    approach = sys.argv[1] if len(sys.argv) == 2 else " ".join(sys.argv[1:])
    if approach not in APPROACHES:
        raise UserError(
            f"Expected an approach: {' or '.join(APPROACHES)}. Received: {approach or 'nothing'}. "
            "Run `python stages/train.py lrcn`, say."
        )
    params = load()
    settings = getattr(params, approach)
    module = importlib.import_module(f"har.models.{approach}")
    subsets = splits.read(SPLIT, params.split.protocol, params.split.fold)
    with FrameStore(FRAMES) as store:
        data, validation = store.read(subsets.train), store.read(subsets.validation)
        classes, shape = store.classes, store.shape
    splits.check_trainable(data[1], classes)

    code = [module, inputs, layers, training, training.versions()]
    chosen = [params.seed, params.split.protocol, params.split.fold, params.train, settings]
    key = work.digest(FRAMES, SPLIT, *map(str, chosen), *code)
    backup = work.folder("train", approach)
    result = training.fit(
        lambda: module.build(len(classes), shape, settings, params.train, params.seed),
        data,
        validation,
        learning_rate=settings.learning_rate,
        schedule=params.train.schedule,
        epochs=params.train.epochs,
        batch=params.train.batch,
        patience=params.train.patience,
        precision=params.train.precision,
        seed=params.seed,
        backup=backup / f"{key}.npz",
    )

    card = {
        "approach": approach,
        "classes": classes,
        "frames": dict(zip(("count", "height", "width"), shape, strict=True)),
        "parameters": result.model.count_params(),
        "best_epoch": result.best_epoch,
        "epochs": len(result.history),
        "n_train": len(subsets.train),
        "n_validation": len(subsets.validation),
        "protocol": params.split.protocol,
        "fold": params.split.fold,
        "seed": params.seed,
        **training.versions(),
    }
    folder = work.folder("train", f"{approach}-{key}")
    saving.save_model(result.model, folder / "model.keras")
    training.write_history(folder / "history.csv", result.history)
    work.write_text(folder / "card.json", json.dumps(card, indent=2) + "\n")
    work.publish(folder, Path("models") / approach)
    shutil.rmtree(backup)
    best = result.history[result.best_epoch - 1]
    print(
        f"models/{approach}: epoch {result.best_epoch} of {len(result.history)}, "
        f"validation loss {best['val_loss']:.3f}, accuracy {best['val_accuracy']:.3f}"
    )


if __name__ == "__main__":
    run(train)
