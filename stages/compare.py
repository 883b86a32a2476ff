"""Put all trials of the comparison into one table and draw it.

Command: python stages/compare.py
Inputs: comparison/trials; params.yaml (comparison, evaluate.bootstrap, seed).
Outputs: metrics/comparison.json, metrics/comparison.md; metrics/comparison/: accuracy.png,
    pareto.png, classes.png and, where some actions are others backwards, pairs.png.
Cost: seconds.
"""

import json
from pathlib import Path

from har import files
from har.comparison import plots, table
from har.errors import run
from har.params import load

TRIALS = Path("comparison/trials")
METRICS = Path("metrics")


def compare() -> None:
    """Read the trials that params.yaml lists; write the table and the pictures."""
    params = load()
    chosen, draws = params.comparison, {"resamples": params.evaluate.bootstrap, "seed": params.seed}
    rows, recalls, pairs = {}, {}, {}
    first = chosen.protocols[0]
    for approach in chosen.approaches:
        parts, cards = {}, []
        for protocol in chosen.protocols:
            trials = chosen.trials(approach, protocol)
            read = [table.read(TRIALS, trial) for trial in trials]
            parts[protocol] = [predictions for predictions, _ in read]
            cards += [card for _, card in read]
        row = {p: table.figures(parts[p], **draws) for p in chosen.protocols}
        if {"random", "group"} <= set(parts):
            row["gap"] = table.gap(parts["random"], parts["group"], **draws)
        rows[approach] = row | table.cost(cards)
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
    words = (
        f"{len(rows)} approaches; folds {', '.join(map(str, chosen.folds))}; "
        f"seeds {', '.join(map(str, chosen.seeds))}."
    )
    text = table.markdown(rows, chance, words)
    files.write_text(METRICS / "comparison.md", text)
    figures = {"chance": chance, "approaches": rows}
    files.write_text(METRICS / "comparison.json", json.dumps(_rounded(figures), indent=2) + "\n")
    files.publish(folder, METRICS / "comparison")
    print(text)


def _rounded(value):
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    run(compare)
