"""Test the trained models on the clips of the test fold.

Command: python stages/evaluate.py
Inputs: data/frames.h5, data/split.csv, models/; params.yaml (seed, split.protocol, split.fold,
    dataset.name, train.batch, evaluate).
Outputs: metrics/metrics.json, metrics/shortcuts.png, and in metrics/<approach>/: predictions.csv,
    per_class.csv, shortcuts.csv, confusion.png, curves.png, mistakes.png
Cost: half a minute.
"""

from pathlib import Path

from har import files
from har.clips import splits
from har.clips.store import FrameStore
from har.nn.process import prepare
from har.params import Trial, load

METRICS = Path("metrics")


def evaluate() -> None:
    """Write the figures, tables and pictures of every approach."""
    params = load()
    prepare()  # before Keras loads
    from har.comparison import cost, plots, trials
    from har.evaluation import metrics, outputs, shortcuts, unknown
    from har.nn import familiarity
    from har.nn.model_files import load_model
    from har.training import fit
    from har.training.run import check_card

    protocol, fold = params.split.protocol, params.split.fold
    clips = splits.read(Path("data/split.csv"), protocol, fold)
    with FrameStore(Path("data/frames.h5")) as store:
        labels = store.labels_of(clips.test)
        baselines = metrics.baselines(store.labels_of(clips.train), labels, len(store.classes))
        settings = {"dataset": params.dataset.name, "seed": params.seed}
        settings |= {"batch": params.train.batch}
        draws = {"resamples": params.evaluate.bootstrap, "seed": params.seed}
        columns, figures = dict.fromkeys(fit.HISTORY_COLUMNS, float), {}
        for approach in ("convlstm", "lrcn"):
            folder = Path("models") / approach
            card = files.read_json(folder / "card.json")
            check_card(card, Trial(approach, protocol, fold, params.seed), store.classes, folder)
            model = load_model(folder / "model.keras")
            known = familiarity.load(folder / familiarity.FILE)
            tested, strange, rows = trials.test(model, known, store, clips.test, **settings)
            figures[approach] = {
                **metrics.figures(tested.probabilities, labels, tested.groups, **draws),
                **baselines,
                "parameters": model.count_params(),
                "multiply_adds": cost.multiply_adds(model),
                "shortcuts": shortcuts.figures(rows, **draws),
                "unknown": unknown.figures(strange, **draws),
            }
            outputs.write(
                METRICS / approach,
                f"{approach}, {protocol} fold {fold}",
                tested,
                store,
                n_mistakes=params.evaluate.mistakes,
                history=files.read_csv(folder / "history.csv", columns),
                best_epoch=card["best_epoch"],
            )
            files.write_csv(METRICS / approach / "shortcuts.csv", shortcuts.COLUMNS, rows)
    leans = {approach: shortcuts.shares(row) for approach, row in figures.items()}
    plots.shares(METRICS / "shortcuts.png", leans, shortcuts.TITLE)
    files.write_json(METRICS / "metrics.json", files.rounded(figures))


if __name__ == "__main__":
    files.run_stage(evaluate)
