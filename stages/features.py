"""Make what an approach reads besides frames: a frozen backbone's features of every clip.

Command: python stages/features.py APPROACH
Inputs: data/videos, data/clips.csv; params.yaml (features, which names the approach's backbone,
    and backbones).
Outputs: data/features/<approach>.h5: float16 (N, V, T, D) in the order of clips.csv. For an
    approach that reads frames, a store without features, so that every approach has this stage.
Cost: all cores. On 2 cores, mirrored clips included: MobileNetV2 half a second a clip, MoveNet a
    third, I3D with its three windows 1.5 s. Kill it at any time: the next run goes on from the
    last finished clip. Approaches with one backbone share its work.
"""

import sys
from pathlib import Path

from har.backbones.feature_store import FeatureStore, write_no_features
from har.clips import store
from har.errors import run
from har.params import load

VIDEOS = Path("data/videos")
CLIPS = Path("data/clips.csv")
FEATURES = Path("data/features")


def features() -> None:
    """Write the store of the approach named on the command line."""
    approach = " ".join(sys.argv[1:])
    params = load()
    params.check_approach(approach)
    output = FEATURES / f"{approach}.h5"
    backbone = params.features.get(approach)
    if backbone is None:
        write_no_features(output)
        print(f"{output}: {approach} reads data/frames.h5")
        return
    from har.nn import process

    process.prepare()
    from har.backbones.features import extract  # Keras, which frames do not need

    settings = params.backbones[backbone]
    if settings.weights == "random":
        print(f"backbones.{backbone}.weights: random. Figures will say nothing of {backbone}.")
    extract(backbone, settings, VIDEOS, store.read_clips(CLIPS), output)
    with FeatureStore(output) as made:
        print(f"{output}: {len(made.clips)} clips, {made.shape} each, of {backbone}")


if __name__ == "__main__":
    run(features)
