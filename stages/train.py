"""Train one approach.

Command: python stages/train.py APPROACH; an approach is a module of har.models: convlstm, lrcn …
Inputs: data/frames.h5 or data/features/<approach>.h5; data/clips.csv, data/split.csv;
    weights/<approach>.npz where the approach starts from it; params.yaml
    (seed, split, dataset.name, frames, train, sample, features, backbones and the approach).
Outputs: models/<approach>/: model.keras, history.csv, card.json
Cost: on 2 cores about 40 clips a second, times epochs. Kill it at any time: the next run goes on
    from the last finished epoch. GPUs: docs/scale-out.md
"""

import sys
from pathlib import Path

from har.files import run_stage
from har.nn.process import prepare
from har.params import Trial, load


def train() -> None:
    """Train the approach named on the command line."""
    approach = " ".join(sys.argv[1:])
    params = load()
    params.check_approach(approach)
    prepare()  # before Keras loads
    from har.training import run as training

    trial = Trial(approach, params.split.protocol, params.split.fold, params.seed)
    training.train(trial, params, Path("models") / approach)


if __name__ == "__main__":
    run_stage(train)
