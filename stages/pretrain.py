"""Teach a network random motions of rendered people, as a start for its training on clips.

Command: python stages/pretrain.py APPROACH; an approach whose section has the key `weights`.
Inputs: params.yaml (the approach, `train`, `seed`); no clips.
Outputs: pretrain/<approach>.npz; `make pretrain` puts it into weights/.
Cost: 32 GB of disk below .work. On 16 cores and one H200 (KERAS_BACKEND=jax) 6 min of rendering and
    6 of training a network; on 2 cores an hour and two days. Kill it at any time: it goes on.
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
from har.transfer.download import check_free

CLIPS, VALIDATION = 65_536, 2_048  # VALIDATION: the first of CLIPS
PART = 64  # clips that a process renders at a time
RECIPE = {"draw": "window", "frames": 20, "epochs": 59, "steps": 0, "batch": 128, "patience": None}


def _render(path: Path, start: int) -> int:
    cv2.setNumThreads(1)  # there is a process per core
    done = path.with_name(f"{start}.done")
    if not done.exists():
        clips = np.lib.format.open_memmap(path, "r+")
        for row in range(start, start + PART):
            clips[row] = motions.render(row % motions.MOTIONS, row)
        clips.flush()
        done.touch()
    return PART


def render(folder: Path) -> np.ndarray:
    """Render all clips into a file of a folder and open it: (N, T, H, W, 3) uint8 RGB."""
    path, shape = folder / "clips.npy", (CLIPS, *motions.SHAPE, 3)
    if not path.exists():
        check_free(folder, int(np.prod(shape)), "render the clips")
        np.lib.format.open_memmap(folder / "empty.npy", "w+", np.uint8, shape).flush()
        (folder / "empty.npy").rename(path)
    parallel = joblib.Parallel(n_jobs=-1, return_as="generator_unordered")
    with tqdm(total=CLIPS, desc="Rendering", unit="clip", disable=None) as bar:
        for n in parallel(joblib.delayed(_render)(path, i) for i in range(0, CLIPS, PART)):
            bar.update(n)
    return np.load(path, mmap_mode="r")


def pretrain() -> None:
    """Pretrain the approach named on the command line."""
    approach = " ".join(sys.argv[1:])
    params = load().model_copy(update={"sample": {}})  # the networks of real clips
    settings, recipe = params.approach(approach), params.recipe(approach)
    if not hasattr(settings, "weights"):
        raise UserError(
            f"Expected an approach that has the key weights: convlstm, lrcn. Received: {approach}."
        )
    recipe = recipe.model_copy(update=RECIPE)
    code = [Path(str(module.__file__)) for module in (figure, film, motions, scene)]
    films = files.digest(CLIPS, *code)
    frames, labels = render(files.folder("pretrain", films)), np.arange(CLIPS) % motions.MOTIONS
    prepare()  # before Keras loads
    from har.training import fit, pretraining

    module = importlib.import_module(f"har.models.{approach}")
    code = [Path(str(module.__file__))]
    for package in ("models/parts", "nn", "training"):
        code += sorted(Path("har", package).glob("*.py"))
    key = files.digest(films, str([settings, recipe, params.seed]), fit.versions(), *code)
    backup = files.folder("pretrain") / f"{approach}-{key}.npz"
    trained = fit.fit(
        lambda: module.build(motions.MOTIONS, motions.SHAPE, settings, recipe, params.seed),
        (frames[VALIDATION:], labels[VALIDATION:]),
        (frames[:VALIDATION], labels[:VALIDATION]),
        n_classes=motions.MOTIONS,
        learning_rate=settings.learning_rate,
        recipe=recipe,
        seed=params.seed,
        backup=backup,
    )
    best = trained.history[trained.best_epoch - 1]
    print(f"{approach}: right on {best['val_accuracy']:.3f} of clips it was not trained on")
    pretraining.save(Path("pretrain", f"{approach}.npz"), trained.model, settings)
    backup.unlink()


if __name__ == "__main__":
    run_stage(pretrain)
