"""Teach a network random motions of rendered people, as a start for its training on clips.

Command: python stages/pretrain.py APPROACH; an approach whose section has the key `weights`.
Inputs: params.yaml (the approach and `train`); no clips.
Outputs: weights/<approach>.npz
Cost: on 16 cores and one H200 (KERAS_BACKEND=jax) 6 min of rendering and 5 of training; on 2 cores
    an hour and a day. 32 GB of disk below .work. Kill it at any time.
"""

import importlib
import sys
from pathlib import Path

import cv2
import joblib
import numpy as np
from tqdm import tqdm

from har import files
from har.datasets.rendering import figure, film, motions, scene
from har.errors import UserError
from har.files import run_stage
from har.nn.process import prepare
from har.params import load

CLIPS, VALIDATION = 65_536, 2_048  # the second are of the first
RECIPE = {"draw": "window", "frames": 20, "epochs": 59, "steps": 0, "batch": 128, "patience": None}


def _render(path: Path, rows: range) -> int:
    cv2.setNumThreads(1)  # there is a process per core
    clips = np.lib.format.open_memmap(path, "r+")
    for row in rows:
        clips[row] = motions.render(row % motions.MOTIONS, row)
    return len(rows)


def render() -> np.ndarray:
    """Render all clips into a file and open it: (N, T, H, W, 3) uint8 RGB."""
    code = [Path(str(module.__file__)) for module in (figure, film, motions, scene)]
    folder = files.folder("pretrain", files.digest(CLIPS, *code))
    done, part = folder / "clips.npy", folder / "part.npy"
    if not done.exists():
        np.lib.format.open_memmap(part, "w+", np.uint8, (CLIPS, *motions.SHAPE, 3)).flush()
        work = (joblib.delayed(_render)(part, range(i, i + 64)) for i in range(0, CLIPS, 64))
        parallel = joblib.Parallel(n_jobs=-1, return_as="generator_unordered")
        with tqdm(total=CLIPS, desc="Rendering", unit="clip", disable=None) as bar:
            for n in parallel(work):
                bar.update(n)
        part.rename(done)
    return np.load(done, mmap_mode="r")


def pretrain() -> None:
    """Pretrain the approach named on the command line."""
    approach = " ".join(sys.argv[1:])
    params = load().model_copy(update={"sample": {}})  # the networks of real clips
    settings = params.approach(approach)
    if not hasattr(settings, "weights"):
        raise UserError(
            f"Expected an approach that has the key weights: convlstm, lrcn. Received: {approach}."
        )
    recipe = params.recipe(approach).model_copy(update=RECIPE)
    frames, labels = render(), np.arange(CLIPS) % motions.MOTIONS
    prepare()  # before Keras loads
    from har.training import fit, pretraining

    module = importlib.import_module(f"har.models.{approach}")
    key = files.digest(str(settings), str(recipe), fit.versions())
    trained = fit.fit(
        lambda: module.build(motions.MOTIONS, motions.SHAPE, settings, recipe, params.seed),
        (frames[VALIDATION:], labels[VALIDATION:]),
        (frames[:VALIDATION], labels[:VALIDATION]),
        n_classes=motions.MOTIONS,
        learning_rate=settings.learning_rate,
        recipe=recipe,
        seed=params.seed,
        backup=files.folder("pretrain") / f"{approach}-{key}.npz",
    )
    best = trained.history[trained.best_epoch - 1]
    print(f"{approach}: {best['val_accuracy']:.3f} of clips that it was not trained on")
    pretraining.save(pretraining.FOLDER / f"{approach}.npz", trained.model, settings)


if __name__ == "__main__":
    run_stage(pretrain)
