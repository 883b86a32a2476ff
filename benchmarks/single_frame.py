"""What memory is worth: LRCN beside a network that sees one frame at a time.

Command: python benchmarks/single_frame.py [--json PATH]
Inputs: data/frames.h5, data/split.csv, models/lrcn, params.yaml: run the pipeline first.
Cost: about two minutes on 2 cores.

`har.models.single_frame` averages what it says of single frames. On the sample data it cannot tell
sitting down from standing up, nor picking up from putting down: they are the same frames in
opposite order.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from har import files
from har.clips import splits
from har.clips.store import FrameStore
from har.errors import run
from har.evaluation import metrics
from har.models import single_frame
from har.nn import model_files
from har.params import load
from har.training import fit

REVERSED = (("SitDown", "StandUp"), ("PickUp", "PutDown"))


def main() -> None:
    """Train, test, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    params = load()
    subsets = splits.read(Path("data/split.csv"), params.split.protocol, params.split.fold)
    with FrameStore(Path("data/frames.h5")) as store:
        train, validation, test = (store.read(clips) for clips in subsets)
        classes, shape = store.classes, store.shape
    with_memory = metrics.predict(
        model_files.load_model(Path("models/lrcn/model.keras")), test[0], params.train.batch
    )
    settings, recipe = params.approach("single_frame"), params.recipe("single_frame")
    backup = files.folder("single-frame") / "backup.npz"
    fitted = fit.fit(
        lambda: single_frame.build(len(classes), shape, settings, recipe, params.seed),
        train,
        validation,
        n_classes=len(classes),
        learning_rate=settings.learning_rate,
        recipe=recipe,
        seed=params.seed,
        backup=backup,
    )
    backup.unlink()
    without = metrics.predict(fitted.model, test[0], recipe.batch)

    figures = {}
    print(f"{'accuracy':36}{'LRCN':>8}{'single frame':>14}{'chance':>8}")
    rows = [("all classes", tuple(classes))]
    rows += [(" / ".join(pair), pair) for pair in REVERSED if set(pair) <= set(classes)]
    for name, chosen in rows:
        index = [classes.index(label) for label in chosen]
        clips = np.isin(test[1], index)
        scores = [
            float((np.take(index, p[clips][:, index].argmax(axis=1)) == test[1][clips]).mean())
            for p in (with_memory, without)
        ]
        print(f"{name:36}{scores[0]:8.3f}{scores[1]:14.3f}{1 / len(index):8.3f}")
        key = name.replace(" / ", "_").replace(" ", "_")
        figures |= {f"lrcn_{key}": scores[0], f"single_frame_{key}": scores[1]}
    if arguments.json:
        files.write_text(arguments.json, json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
