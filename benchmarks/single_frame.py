"""What memory is worth: LRCN beside the same network that sees one frame at a time.

Command: python benchmarks/single_frame.py [--json PATH]
Inputs: data/frames.h5, data/split.csv, models/lrcn, params.yaml: run the pipeline first.
Cost: about two minutes on 2 cores.

The single-frame version is trained on every frame of every training clip by itself, and its
probabilities are averaged over the frames of a test clip. On the sample data it cannot tell
sitting down from standing up, nor picking up from putting down: they are the same frames in
opposite order.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from har import evaluation, saving, splits, training, work
from har.errors import run
from har.models import lrcn
from har.params import load
from har.store import FrameStore

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
    with_memory = evaluation.predict(
        saving.load_model(Path("models/lrcn/model.keras")), test[0], params.train.batch
    )
    one = (1, *shape[1:])
    backup = work.folder("single-frame") / "backup.npz"
    fit = training.fit(
        lambda: lrcn.build(len(classes), one, params.lrcn, params.train, params.seed),
        frames_as_clips(*train),
        frames_as_clips(*validation),
        learning_rate=params.lrcn.learning_rate,
        schedule=params.train.schedule,
        epochs=max(params.train.epochs // 3, 1),
        batch=params.train.batch * shape[0],
        patience=params.train.patience,
        precision=params.train.precision,
        seed=params.seed,
        backup=backup,
    )
    backup.unlink()
    frames, _ = frames_as_clips(*test)
    by_frame = evaluation.predict(fit.model, frames, params.train.batch * shape[0])
    without = by_frame.reshape(len(test[0]), shape[0], -1).mean(axis=1)

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
        work.write_text(arguments.json, json.dumps(figures, indent=2) + "\n")


def frames_as_clips(frames: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn clips (N, T, H, W, 3) into clips of one frame (N·T, 1, H, W, 3), without a copy."""
    N, T, *rest = frames.shape
    return frames.reshape(N * T, 1, *rest), np.repeat(labels, T)


if __name__ == "__main__":
    run(main)
