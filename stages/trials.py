"""Train and test one approach on every fold of the comparison.

Command: python stages/trials.py APPROACH
Inputs: as stages/train.py, with the features in comparison/features; models/<approach>, which is
    copied where it equals a trial; params.yaml (comparison).
Outputs: comparison/trials/<approach>/<approach>-<protocol>-<fold>-<seed>/: a model folder with
    predictions.csv and unknown.csv; under the first protocol, of networks that see frames,
    shortcuts.csv
Cost: from seconds a trial, on features, to minutes. Kill it at any time: the next run goes on from
    the last finished epoch. Trials that have not changed stay.
"""

import shutil
import sys
from pathlib import Path

from har.files import run_stage
from har.nn.process import prepare
from har.params import load


def trials() -> None:
    """Run the trials of the approach named on the command line."""
    approach = " ".join(sys.argv[1:])
    params = load()
    params.check_approach(approach)
    prepare()  # before Keras loads
    from har.comparison import trials
    from har.evaluation import predictions

    chosen = params.comparison
    wanted = [trial for p in chosen.protocols for trial in chosen.trials(approach, p)]
    folder = Path("comparison/trials") / approach
    for old in {*folder.glob("*")} - {folder / str(trial) for trial in wanted}:
        shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
    places = {"features": Path("comparison/features"), "finished": Path("models") / approach}
    for number, trial in enumerate(wanted, 1):
        output = folder / str(trial)
        first = trial.protocol == chosen.protocols[0]
        trials.run(trial, params, output, **places, with_shortcuts=first)
        accuracy = predictions.read(output / "predictions.csv").right.mean()
        print(f"{output}: trial {number} of {len(wanted)}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    run_stage(trials)
