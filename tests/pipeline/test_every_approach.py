"""Every approach trains with stages/train.py and is opened with `har.Recogniser.open`."""

import io
import re
import runpy
import sys
from contextlib import redirect_stdout
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy.stats import binomtest

import har
from har.backbones.feature_store import FeatureStore
from har.clips import store
from har.nn.model_files import load_model
from har.params import approaches, load

from .conftest import ROOT

PARAMS = load(ROOT / "params.yaml")
TINY = {
    "train.batch": 8,
    "train.precision": "float32",
    "frames.height": 32,
    "frames.width": 32,
}
# Which frames the backbones read; I3D needs windows of 8 frames.
SHOWN = {
    "i3d": {"count": 8, "step": 1, "windows": 2},
}


@pytest.fixture(scope="module")
def project(new_project):
    """A project whose clips are extracted and split."""
    project = new_project()
    small = {"height": 32, "width": 32, "weights": "random", "sha256": None, "precision": "auto"}
    backbones = {f"backbones.{name}": small | shown for name, shown in SHOWN.items()}
    epochs = {f"{name}.train.epochs": 1 for name in ("convlstm_tutorial", "lrcn_tutorial")}
    project.set(**{"train.epochs": 1}, **TINY, **backbones, **epochs)
    for stage in ("fetch", "extract", "split"):
        project.python(f"stages/{stage}.py")
    return project


def stage(monkeypatch, project, name: str, approach: str) -> str:
    """Run a stage in this process, where Keras has loaded; return what it prints."""
    monkeypatch.chdir(project.path)
    monkeypatch.setattr(sys, "argv", [f"stages/{name}.py", approach])
    keras.backend.clear_session()
    with redirect_stdout(io.StringIO()) as said, pytest.raises(SystemExit) as left:
        runpy.run_path(f"stages/{name}.py", run_name="__main__")
    assert not left.value.code
    return said.getvalue()


@pytest.mark.parametrize("approach", approaches())
def test_trains_and_recognises(project, monkeypatch, approach):
    backbone = PARAMS.features.get(approach)
    if backbone:
        stage(monkeypatch, project, "features", approach)
    said = stage(monkeypatch, project, "train", approach)
    folder = project.path / "models" / approach
    written = {"model.keras", "card.json", "familiarity.npz", "history.csv"}
    assert {path.name for path in folder.iterdir()} == written

    model, recogniser = load_model(folder / "model.keras"), har.Recogniser.open(folder)
    n, accuracy = recogniser.card["n_validation"], float(re.search(r"accuracy ([\d.]+)", said)[1])
    low = binomtest(round(accuracy * n), n).proportion_ci().low
    assert ("do not show that this is better than chance" in said) == (low <= 0.5)
    clips = store.read_clips(Path("data/clips.csv"))[::7]
    found = np.stack(
        [recogniser.predict(Path("data/fetched") / clip.clip).overall for clip in clips]
    )
    assert found.shape == (len(clips), 2)
    names = [clip.clip for clip in clips]
    if backbone is None:
        with store.FrameStore(Path("data/frames.h5")) as frames:
            expected = model.predict_on_batch(frames.read(names)[0])
    else:
        # The part of the model that was trained on the features of the store.
        head = model.get_layer(approach)
        with FeatureStore(Path(f"data/features/{approach}.h5")) as features:
            expected = head.predict_on_batch(features.read(names)[0].astype(np.float32))
    np.testing.assert_allclose(found, expected, atol=1e-5)
