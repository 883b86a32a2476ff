"""Teach the best network a folder of clips: I3D's features and a linear classifier.

Command: python stages/teach.py
Inputs: data/features/i3d.h5, data/frames.h5, data/clips.csv, data/split.csv; params.yaml (seed,
    dataset.name, frames, train, sample, i3d, backbones, evaluate).
Outputs: models/i3d/: model.keras, card.json; metrics/teach.json, and in metrics/i3d/:
    predictions.csv, per_class.csv, confusion.png, mistakes.png
Cost: seconds; the features cost 1 to 2.5 s a clip on 2 cores (stages/features.py).
"""

from pathlib import Path

from har import files
from har.clips.store import FrameStore
from har.nn.process import prepare
from har.params import load


def main() -> None:
    """Fit, test over all folds, write the model folder, figures, tables and pictures."""
    params = load()
    prepare()  # before Keras loads
    from har.evaluation import metrics, outputs, unknown
    from har.training.teach import teach

    tested, rows, card = teach(params, Path("models/i3d"))
    draws = {"resamples": params.evaluate.bootstrap, "seed": params.seed}
    figures = {
        **metrics.figures(tested.probabilities, tested.labels, tested.groups, **draws),
        **metrics.baselines(tested.labels, tested.labels, len(tested.classes)),
        "parameters": card["parameters"],
        "unknown": unknown.figures(rows, **draws),
    }
    title = f"i3d, {card['dataset']['name']}, all folds"
    n_mistakes = params.evaluate.mistakes
    with FrameStore(Path("data/frames.h5")) as store:
        outputs.write(Path("metrics/i3d"), title, tested, store, n_mistakes=n_mistakes)
    files.write_json(Path("metrics/teach.json"), files.rounded({"i3d": figures}))
    print(
        f"models/i3d: accuracy {figures['accuracy']:.3f} ({figures['accuracy_low']:.3f} to "
        f"{figures['accuracy_high']:.3f}) on {figures['n_test']} clips, each tested by a "
        "classifier that saw no clip of its source video."
    )


if __name__ == "__main__":
    files.run_stage(main)
