"""Train and test one approach on one fold of a protocol from one seed: a cell of the comparison.

Command: python stages/trial.py APPROACH PROTOCOL FOLD SEED
Inputs: as stages/train.py; features are in comparison/features; protocol, fold and seed come from
    the command line.
Outputs: comparison/trials/<approach>-<protocol>-<fold>-<seed>/: model.keras, history.csv,
    predictions.csv, card.json
Cost: from seconds, on features, to minutes. Kill it at any time: the next run goes on from the
    last finished epoch.
"""

import sys
from pathlib import Path

from har.errors import UserError
from har.files import run_stage
from har.nn.process import prepare
from har.params import Trial, load


def trial() -> None:
    """Run the trial named on the command line."""
    try:
        approach, protocol, fold, seed = sys.argv[1:]
        chosen = Trial(approach, protocol, int(fold), int(seed))
    except ValueError:
        raise UserError(
            "Expected an approach, a protocol, a fold and a seed, as in `python stages/trial.py "
            f"lrcn group 0 27`. Received: {' '.join(sys.argv[1:]) or 'nothing'}."
        ) from None
    params = load()
    params.check_approach(approach)
    prepare()  # before Keras loads
    from har.training import run as training

    output, features = Path("comparison/trials") / str(chosen), Path("comparison/features")
    card = training.train(chosen, params, output, features=features, test=True)
    print(f"{output}: test accuracy {card['accuracy']:.3f}")


if __name__ == "__main__":
    run_stage(trial)
