"""A folder of videos to a store of features, on all cores, surviving any kill.

Features know no labels, so every fold and every protocol shares them. Each clip's are a file in
`.work/features/` until all are there; the store that then appears stays there too, as a second
name of the same file, and a later run takes from it the clips that it knows by content.
"""

import contextlib
import hashlib
import importlib
import os
import shutil
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import joblib
import numpy as np
from tqdm import tqdm

from har import files
from har.backbones import imagenet, weights
from har.clips import sampling, store, video
from har.clips.sampling import Sampling
from har.clips.store import Clip
from har.errors import UserError
from har.nn.backend import keras
from har.params import BackboneParams


class Backbone(NamedTuple):
    """A pretrained network, ready to run.

    Attributes:
        params: its section: the frames it is shown, and whether mirrored too.
        run: of a window, from frames, (T, H, W, 3) uint8 RGB, to features (T', D). Threads may call
            it side by side.
        identity: what tells its weights from others.
        network: the same as a Keras model, where it is one; it takes what the section says.
    """

    params: BackboneParams
    run: Callable[[np.ndarray], np.ndarray]
    identity: str
    network: keras.Model | None

    def read(self, path: Path, clip: Clip) -> np.ndarray:
        """Read a clip, whose row of clips.csv is `clip`, as this network is shown it.

        Returns:
            uint8 (windows·T, H, W, 3) RGB.

        Raises:
            UnreadableVideoError: it does not decode, or not as far as it did.
        """
        return self.sampling.read(path, clip)[0]

    @property
    def sampling(self) -> Sampling:
        """The frames that it is shown of a clip."""
        fields = ("count", "height", "width", "step", "windows")
        chosen = {name: getattr(self.params, name) for name in fields}
        # What finds a person must see them in proportion.
        return Sampling(**chosen, proportional=self.network is None)

    def features(self, frames: np.ndarray) -> np.ndarray:
        """Return the features of what `read` read as float16 (V, T', D).

        The views V are the windows, and after them, if so set, the windows mirrored.
        """
        views = np.split(frames, self.params.windows)
        if self.params.mirrored:
            views += [view[:, :, ::-1] for view in views]
        return np.stack([self.run(np.ascontiguousarray(view)) for view in views]).astype(np.float16)


def open_backbone(name: str, params: BackboneParams) -> Backbone:
    """Load a backbone of `har.backbones` with its weights.

    Raises:
        UserError: its weights are not there, or not right.
    """
    module = importlib.import_module(f"har.backbones.{name}")
    key, source = f"backbones.{name}", params.weights
    if source in getattr(module, "PACKAGED", {}):
        source = weights.packaged(*module.PACKAGED[source], key)
    if source not in getattr(module, "NAMED", ()):
        source = str(weights.find(source, params.sha256, key))
    if not hasattr(module, "build"):
        return Backbone(
            params, module.extractor(Path(source)), files.file_sha256(Path(source)), None
        )
    keras.utils.set_random_seed(0)  # of random weights, should they be asked for
    network = module.build((params.count, params.height, params.width), source)
    network.trainable = False
    digest = hashlib.sha256()
    for array in network.get_weights():
        digest.update(np.ascontiguousarray(array))
    one_at_a_time = threading.Lock()

    def run(frames: np.ndarray) -> np.ndarray:
        with one_at_a_time:  # which takes all cores, while other threads decode
            return np.asarray(network.predict_on_batch(frames[None]))[0]

    return Backbone(params, run, digest.hexdigest(), network)


def extract(
    name: str, params: BackboneParams, videos: Path, clips: Sequence[Clip], output: Path
) -> None:
    """Write the store of the clips' features.

    Args:
        name: of the backbone.
        params: its section.
        videos: the folder of the clips.
        clips: rows of clips.csv, whose order the store keeps.
        output: the store; it appears whole or not at all.

    Raises:
        UserError: the weights are not there, or a clip does not decode any more.
    """
    backbone = open_backbone(name, params)
    facts = {
        "backbone": name,
        **params.model_dump(exclude={"sha256"}),
        "identity": backbone.identity,
    }
    own = sys.modules[__name__], importlib.import_module(f"har.backbones.{name}")
    key = files.digest(facts, cv2.__version__, keras.__version__, imagenet, sampling, video, *own)
    scratch = files.folder("features", f"{name}-{key}")
    kept = scratch / "features.h5"
    done = {clip.sha256: scratch / f"{clip.sha256}.npy" for clip in clips}
    old: dict[str, int] = {}
    if kept.exists():
        with store.FeatureStore(kept) as file:
            old = {sha256: row for row, sha256 in enumerate(file.sha256)}
    todo = {c.sha256: c for c in clips if c.sha256 not in old and not done[c.sha256].exists()}

    def compute(clip: Clip) -> None:
        try:
            frames = backbone.read(videos / clip.clip, clip)
        except video.UnreadableVideoError as error:
            raise UserError(
                f"Expected the clip {videos / clip.clip} to decode, as before. Received: {error}. "
                "Run `dvc repro extract`."
            ) from None
        features = backbone.features(frames)
        part = done[clip.sha256].with_suffix(".part.npy")
        np.save(part, features)
        part.replace(done[clip.sha256])

    if todo:
        pool = joblib.Parallel(n_jobs=-1, backend="threading", return_as="generator_unordered")
        results = pool(joblib.delayed(compute)(clip) for clip in todo.values())
        with tqdm(
            total=len(done),
            initial=len(done) - len(todo),
            desc=f"Features of {name}",
            unit="clip",
            disable=None,
        ) as bar:
            for _ in results:
                bar.update()
    fresh = scratch / "features.new"
    with store.FeatureStore(kept) if old else contextlib.nullcontext() as file:
        rows = (
            file.row(old[c.sha256]) if c.sha256 in old else np.load(done[c.sha256]) for c in clips
        )
        store.write_features(fresh, clips, rows, facts)
    fresh.replace(kept)
    for file in done.values():
        file.unlink(missing_ok=True)
    _link(kept, output)


def _link(kept: Path, output: Path) -> None:
    """Make `output` a second name of `kept`, or a copy where there are no such names."""
    output.parent.mkdir(parents=True, exist_ok=True)
    part = output.with_name(f".{output.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.link(kept, part)
    except OSError:
        shutil.copyfile(kept, part)
    part.replace(output)
