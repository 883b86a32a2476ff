"""Test the trained models on the clips of the test fold.

Command: python stages/evaluate.py
Inputs: data/frames.h5, data/split.csv, models/; params.yaml (seed, split.protocol, split.fold,
    train.batch, evaluate).
Outputs: metrics/metrics.json, and in metrics/<approach>/: predictions.csv, per_class.csv,
    confusion.png, curves.png, mistakes.png
Cost: seconds.
"""

# ruff: noqa: E402 (Keras loads after prepare)
from har.nn import process

process.prepare()

import json
from pathlib import Path

from har import files
from har.clips import splits, store
from har.comparison import latency
from har.errors import run
from har.evaluation import metrics, outputs
from har.nn import model_files
from har.params import load

FRAMES = Path("data/frames.h5")
SPLIT = Path("data/split.csv")
METRICS = Path("metrics")
APPROACHES = ("convlstm", "lrcn")


def evaluate() -> None:
    """Test every approach and write its figures, tables and pictures."""
    params = load()
    clips = splits.read(SPLIT, params.split.protocol, params.split.fold)
    groups = splits.read_groups(SPLIT)
    with store.FrameStore(FRAMES) as frames:
        test = outputs.Test(
            clips.test,
            [groups[clip] for clip in clips.test],
            *frames.read(clips.test),
            frames.classes,
        )
        baselines = metrics.baselines(frames.labels_of(clips.train), test.labels, len(test.classes))
    figures = {}
    for approach in APPROACHES:
        folder = Path("models") / approach
        model = model_files.load_model(folder / "model.keras")
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        probabilities = metrics.predict(model, test.frames, params.train.batch)
        figures[approach] = {
            **metrics.figures(
                probabilities,
                test.labels,
                test.groups,
                resamples=params.evaluate.bootstrap,
                seed=params.seed,
            ),
            **baselines,
            "parameters": model.count_params(),
            "latency_ms": latency.measured_once(model, test.frames.shape[1:4]),
        }
        outputs.write(
            METRICS / approach,
            f"{approach}, {params.split.protocol} fold {params.split.fold}",
            test,
            probabilities,
            store.read_rows(folder / "history.csv"),
            card["best_epoch"],
            params.evaluate.mistakes,
        )
    rounded = {a: {k: round(v, 4) for k, v in row.items()} for a, row in figures.items()}
    files.write_text(METRICS / "metrics.json", json.dumps(rounded, indent=2) + "\n")


if __name__ == "__main__":
    run(evaluate)
