"""Put all trials of the comparison into one table and draw it.

Command: python stages/compare.py
Inputs: comparison/trials; params.yaml (comparison, backbones, evaluate.bootstrap, seed).
Outputs: metrics/comparison.json, metrics/comparison.md; metrics/comparison/: accuracy.png,
    pareto.png, classes.png and, where some actions are others backwards, pairs.png.
Cost: a second an approach, to measure its latency.
"""

from pathlib import Path

import numpy as np

from har import files
from har.nn.process import prepare
from har.params import load

TRIALS = Path("comparison/trials")
METRICS = Path("metrics")


def compare() -> None:
    """Read the trials that params.yaml lists; write the table and the pictures."""
    params = load()
    prepare()  # before Keras loads
    from har.comparison import cost, plots, table
    from har.evaluation import predictions
    from har.nn.model_files import load_model
    from har.training.run import times_file

    chosen, draws = params.comparison, {"resamples": params.evaluate.bootstrap, "seed": params.seed}
    rows, recalls, pairs = {}, {}, {}
    first = chosen.protocols[0]
    for approach in chosen.approaches:
        trials = {p: chosen.trials(approach, p) for p in chosen.protocols}
        parts = {
            p: [predictions.read(TRIALS / str(trial) / "predictions.csv") for trial in each]
            for p, each in trials.items()
        }
        row = {p: table.figures(parts[p], **draws) for p in chosen.protocols}
        if {"random", "group"} <= set(parts):
            row["gap"] = table.gap(parts["random"], parts["group"], **draws)
        folder = TRIALS / str(trials[first][0])
        outside = files.read_json(folder / "card.json")["backbone"]
        row |= cost.of(load_model(folder / "model.keras"), outside and outside["name"], params)
        notes = [times_file(trial) for each in trials.values() for trial in each]
        seconds = [files.read_json(note)["seconds"] for note in notes if note.exists()]
        row["train_seconds"] = float(np.median(seconds)) if seconds else None
        rows[approach] = row
        recalls[approach] = table.recalls(parts[first])
        pairs[approach] = table.pair_accuracies(parts[first])
    chance = 1 / len(parts[first][0].classes)
    folder = files.folder("compare")
    points = {name: (row["latency_ms"], row[first]["accuracy"]) for name, row in rows.items()}
    plots.accuracies(folder / "accuracy.png", rows, chosen.protocols, chance)
    plots.front(folder / "pareto.png", points, table.pareto(points), first)
    plots.classes(folder / "classes.png", recalls, first)
    if all(pairs.values()):
        plots.pairs(folder / "pairs.png", pairs)
    folds, seeds = (", ".join(map(str, numbers)) for numbers in (chosen.folds, chosen.seeds))
    sentence = f"{len(rows)} approaches; folds {folds}; seeds {seeds}."
    text = table.markdown(rows, chance, sentence, cost.machine())
    files.write_text(METRICS / "comparison.md", text)
    figures = {"chance": chance, "machine": cost.machine(), "approaches": rows}
    files.write_json(METRICS / "comparison.json", files.rounded(figures))
    files.publish(folder, METRICS / "comparison")
    print(text)


if __name__ == "__main__":
    files.run_stage(compare)
