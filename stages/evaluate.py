"""Test the trained models on the clips of the test fold.

Command: python stages/evaluate.py
Inputs: data/frames.h5, data/split.csv, models/; params.yaml (seed, split.protocol, split.fold,
    dataset.name, train.batch, evaluate).
Outputs: metrics/metrics.json, metrics/shortcuts.png, and in metrics/<approach>/: predictions.csv,
    per_class.csv, shortcuts.csv, confusion.png, curves.png, mistakes.png
Cost: half a minute.
"""

from functools import partial
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
    from har.comparison import cost, plots
    from har.evaluation import metrics, outputs, shortcuts, unknown
    from har.evaluation.predictions import Predictions
    from har.nn import familiarity
    from har.nn.model_files import load_model
    from har.training import batches, fit
    from har.training.run import check_card

    split, (protocol, fold) = Path("data/split.csv"), (params.split.protocol, params.split.fold)
    clips = splits.read(split, protocol, fold)
    groups = splits.read_groups(split)
    with FrameStore(Path("data/frames.h5")) as store:
        classes = store.classes
        frames, labels = store.read(clips.test)
        baselines = metrics.baselines(store.labels_of(clips.train), labels, len(classes))
        groups = [groups[clip] for clip in clips.test]
        draws = {"resamples": params.evaluate.bootstrap, "seed": params.seed}
        columns, figures = dict.fromkeys(fit.HISTORY_COLUMNS, float), {}
        for approach in ("convlstm", "lrcn"):
            folder = Path("models") / approach
            card = files.read_json(folder / "card.json")
            check_card(card, Trial(approach, protocol, fold, params.seed), classes, folder)
            model = load_model(folder / "model.keras")
            network = familiarity.seeing(model)
            predict = partial(batches.predict, network, batch=params.train.batch)
            probabilities, x = predict(frames)
            tested = Predictions(clips.test, groups, labels, probabilities, classes)
            known = familiarity.load(folder / familiarity.FILE)
            rows = shortcuts.test(predict, tested, store, params.dataset.name, params.seed)
            figures[approach] = {
                **metrics.figures(probabilities, labels, groups, **draws),
                **baselines,
                "parameters": model.count_params(),
                "multiply_adds": cost.multiply_adds(model),
                "shortcuts": shortcuts.figures(rows, **draws),
                "unknown": unknown.figures(unknown.test(known, x, *tested[:3], classes), **draws),
            }
            outputs.write(
                METRICS / approach,
                f"{approach}, {protocol} fold {fold}",
                tested,
                frames,
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
