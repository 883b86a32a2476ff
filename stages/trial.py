"""Train and test one approach on one fold of a protocol from one seed: a cell of the comparison.

Command: python stages/trial.py APPROACH PROTOCOL FOLD SEED
Inputs: data/frames.h5 or data/features/<approach>.h5, data/split.csv; params.yaml (frames, train
    and the section of the approach; features and backbones as they made that file).
Outputs: comparison/trials/<approach>-<protocol>-<fold>-<seed>/: model.keras, history.csv,
    predictions.csv, card.json. The model of an approach that reads features takes features;
    `har.backbones.joined_model` joins it with its backbone.
Cost: from seconds, on features, to minutes. Kill it at any time: the next run goes on from the
    last finished epoch.
"""

# ruff: noqa: E402 (Keras loads after prepare)
from har.nn import process

process.prepare()

import sys
from pathlib import Path

from har.comparison import cost, trial
from har.errors import UserError, run
from har.params import Trial, load

TRIALS = Path("comparison/trials")


def main() -> None:
    """Run the trial named on the command line."""
    try:
        approach, protocol, fold, seed = sys.argv[1:]
        chosen = Trial(approach, protocol, int(fold), int(seed))
    except ValueError:
        raise UserError(
            f"Expected an approach, a protocol, a fold and a seed. Received: {sys.argv[1:]}. "
            "Run `python stages/trial.py lrcn group 0 27`, say."
        ) from None
    params = load()
    outcome = trial.run(chosen, params)
    trial.write(outcome, cost.of(approach, outcome.model, params), TRIALS / str(chosen))
    right = outcome.tested.right
    print(f"{TRIALS / str(chosen)}: accuracy {right.mean():.3f} on {len(right)} clips")


if __name__ == "__main__":
    run(main)
