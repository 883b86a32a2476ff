"""Features of every clip of a folder, computed on all cores; a killed run continues.

Each clip's features are a file in `.work/features/` until the store is complete. The store is kept
there too, as a hard link; a later run takes from it the clips whose SHA-256 it knows.
"""

import contextlib
import hashlib
import importlib
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import joblib
import keras
import numpy as np
from tqdm import tqdm

from har import files
from har.backbones import weights
from har.backbones.feature_store import FeatureStore, write_features
from har.clips import sampling, segments, video
from har.clips.sampling import Sampling
from har.clips.store import Clip
from har.errors import UserError
from har.nn import backend
from har.params import BackboneParams


class Backbone(NamedTuple):
    """A pretrained network with its weights."""

    params: BackboneParams
    network: keras.Model  # from (N, T, H, W, 3) uint8 RGB to (N, T', D)
    identity: str  # digest of the weights
    one_at_a_time: threading.Lock  # the network uses all cores; other threads decode meanwhile

    def read(self, videos: Path, clip: Clip) -> np.ndarray:
        """Read the frames to show of a clip below `videos`, uint8 (windows·T, H, W, 3) RGB.

        Raises:
            UnreadableVideoError: it does not decode, or has fewer frames than clips.csv says.
        """
        path, start, end = segments.locate(videos, clip.clip)
        return self.sampling.read(path, clip, start, end)[0]

    @property
    def sampling(self) -> Sampling:
        """The frames that it is shown of a clip."""
        fields = ("count", "height", "width", "step", "windows")
        return Sampling(**{name: getattr(self.params, name) for name in fields})

    def features(self, frames: np.ndarray) -> np.ndarray:
        """Return features of what `read` returns, float32 (windows, T', D)."""
        with self.one_at_a_time:
            run = self.network.predict_on_batch
            parts = np.split(frames, self.params.windows)
            return np.stack([np.asarray(run(part[None]))[0] for part in parts])


def open_backbone(name: str, params: BackboneParams) -> Backbone:
    """Load a backbone of `har.backbones` with its weights.

    Raises:
        UserError: its weights are missing or wrong.
    """
    module = importlib.import_module(f"har.backbones.{name}")
    key, source = f"backbones.{name}", params.weights
    if source in getattr(module, "PACKAGED", {}):
        otherwise = f", or name a file in {key}.weights"
        source = str(weights.packaged(*module.PACKAGED[source], otherwise))
    if source not in getattr(module, "NAMED", ()):
        source = str(weights.find(source, params.sha256, key))
    keras.utils.set_random_seed(0)  # for weights: random
    network = module.build((params.count, params.height, params.width), source)
    network.trainable = False
    digest = hashlib.sha256()
    for array in network.get_weights():
        digest.update(np.ascontiguousarray(array))
    return Backbone(params, network, digest.hexdigest(), threading.Lock())


def extract(
    name: str, params: BackboneParams, videos: Path, clips: Sequence[Clip], output: Path
) -> None:
    """Write the store of the clips' features by the backbone `name`, whole or not at all.

    Raises:
        UserError: the weights are missing or wrong, or a clip no longer decodes.
    """
    backbone = open_backbone(name, params)
    facts = {"backbone": name, **params.model_dump(exclude={"sha256"})}
    facts["identity"] = backbone.identity
    module = importlib.import_module(f"har.backbones.{name}")
    if quick := params.precision == "auto" and backend.multiplies_bfloat16():
        module.quicken(backbone.network)
    facts["precision"] = "bfloat16" if quick else "float32"
    own = sys.modules[__name__], module
    code = [Path(str(module.__file__)) for module in (sampling, video, *own)]
    key = files.digest(facts, cv2.__version__, keras.__version__, *code)
    scratch = files.folder("features", f"{name}-{key}")
    kept = scratch / "features.h5"
    done = {clip.sha256: scratch / f"{clip.sha256}.npy" for clip in clips}
    old: dict[str, int] = {}
    if kept.exists():
        with FeatureStore(kept) as file:
            old = {sha256: row for row, sha256 in enumerate(file.sha256)}
    todo = {c.sha256: c for c in clips if c.sha256 not in old and not done[c.sha256].exists()}

    def compute(clip: Clip) -> None:
        try:
            frames = backbone.read(videos, clip)
        except video.UnreadableVideoError as error:
            raise UserError(
                f"The clip {videos / clip.clip} no longer decodes: {error}. "
                "Run `dvc repro extract`."
            ) from None
        features = backbone.features(frames)
        part = done[clip.sha256].with_suffix(".part.npy")
        np.save(part, features)
        part.replace(done[clip.sha256])

    pool = joblib.Parallel(n_jobs=-1, backend="threading", return_as="generator_unordered")
    results = pool(joblib.delayed(compute)(clip) for clip in todo.values())
    bar = {"initial": len(done) - len(todo), "total": len(done), "unit": "clip", "disable": None}
    for _ in tqdm(results, f"Features of {name}", **bar):
        pass
    fresh = scratch / "features.new"
    with FeatureStore(kept) if old else contextlib.nullcontext() as file:
        rows = (
            file.row(old[c.sha256]) if c.sha256 in old else np.load(done[c.sha256]) for c in clips
        )
        write_features(fresh, clips, rows, facts)
    fresh.replace(kept)
    for file in done.values():
        file.unlink(missing_ok=True)
    files.link(kept, output)
