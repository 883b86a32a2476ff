"""Put all trials of the comparison into one table and draw it.

Command: python stages/compare.py
Inputs: comparison/trials; params.yaml (comparison, backbones, evaluate.bootstrap, seed).
Outputs: metrics/comparison.json, metrics/comparison.md; metrics/comparison/: accuracy.png,
    classes.png, shortcuts.png.
Cost: a second an approach, to measure its latency.
"""

from itertools import chain
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
    from har.evaluation import predictions, shortcuts, unknown
    from har.nn.model_files import load_model
    from har.training.run import times_file

    chosen, draws = params.comparison, {"resamples": params.evaluate.bootstrap, "seed": params.seed}
    rows, recalls = {}, {}
    first = chosen.protocols[0]
    for approach in chosen.approaches:
        trials = {p: chosen.trials(approach, p) for p in chosen.protocols}
        parts = {
            p: [
                predictions.read(TRIALS / approach / str(trial) / "predictions.csv")
                for trial in each
            ]
            for p, each in trials.items()
        }
        row = {p: table.figures(parts[p], **draws) for p in chosen.protocols}
        if {"random", "group"} <= set(parts):
            row["gap"] = table.gap(parts["random"], parts["group"], **draws)
        folder = TRIALS / approach / str(trials[first][0])
        row |= cost.of(load_model(folder / "model.keras"))
        notes = [times_file(trial) for each in trials.values() for trial in each]
        seconds = [files.read_json(note)["seconds"] for note in notes if note.exists()]
        row["train_seconds"] = float(np.median(seconds)) if seconds else None
        rows[approach] = row
        recalls[approach] = table.recalls(parts[first])
        for name, test in (("shortcuts", shortcuts), ("unknown", unknown)):
            found = [TRIALS / approach / str(trial) / f"{name}.csv" for trial in trials[first]]
            if found[0].exists():  # features are of the clips as they are: without shortcuts.csv
                tables = (files.read_table(path, test.COLUMNS)[1] for path in found)
                row[name] = test.figures([*chain(*tables)], **draws)
    chance = 1 / len(parts[first][0].classes)
    folder = files.folder("compare")
    plots.accuracies(folder / "accuracy.png", rows, chosen.protocols, chance)
    title = f"Part of the class's clips recognised, {first} folds"
    plots.shares(folder / "classes.png", recalls, title)
    leans = {name: shortcuts.shares(row) for name, row in rows.items() if "shortcuts" in row}
    plots.shares(folder / "shortcuts.png", leans, shortcuts.TITLE)
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
