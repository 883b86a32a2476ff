"""Compute the features of every clip with an approach's frozen backbone.

Command: python stages/features.py APPROACH [FOLDER]
Inputs: data/fetched, data/clips.csv; params.yaml (features, backbones).
Outputs: <approach>.h5 in the folder, by default data/features: float32 (N, V, T, D) in the order of
    clips.csv. For an approach that reads frames, a file without features.
Cost: all cores; on 2 cores 1 to 2.5 s a clip. Kill it at any time: the next run goes on from the
    last finished clip.
"""

import sys
from pathlib import Path

from har.backbones.feature_store import FeatureStore, write_no_features
from har.clips import store
from har.files import run_stage
from har.nn.process import prepare
from har.params import load


def features() -> None:
    """Write the store of the approach named on the command line."""
    approach = sys.argv[1] if len(sys.argv) > 1 else ""
    folder = sys.argv[2] if len(sys.argv) > 2 else "data/features"
    params = load()
    params.check_approach(approach)
    output = Path(folder) / f"{approach}.h5"
    backbone = params.features.get(approach)
    if backbone is None:
        write_no_features(output)
        print(f"{output}: {approach} reads data/frames.h5")
        return
    prepare()  # before Keras loads
    from har.backbones.features import extract

    settings = params.backbones[backbone]
    if settings.weights == "random":
        print(f"backbones.{backbone}.weights: random. Figures will say nothing of {backbone}.")
    clips = store.read_clips(Path("data/clips.csv"))
    extract(backbone, settings, Path("data/fetched"), clips, output)
    with FeatureStore(output) as made:
        print(f"{output}: {len(made.clips)} clips, {made.shape} each, of {backbone}")


if __name__ == "__main__":
    run_stage(features)
