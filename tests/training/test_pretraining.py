"""Weights learned on rendered people: written, read, and refused where they do not fit."""

import importlib
import io
import shutil
from pathlib import Path

import numpy as np
import pytest

from har.clips import splits, store
from har.errors import UserError
from har.params import Trial, load
from har.training import pretraining, run

ROOT = Path(__file__).resolve().parents[2]
PARAMS = load(ROOT / "params.yaml").model_copy(update={"sample": {}})  # the networks of real clips
SHAPE = (40, 64, 64)


def build(approach: str, n_classes: int, shape=SHAPE, seed: int = 1, **changes):
    settings = PARAMS.approach(approach).model_copy(update=changes)
    module = importlib.import_module(f"har.models.{approach}")
    recipe = PARAMS.recipe(approach).model_copy(update={"frames": shape[0] // 2})
    return module.build(n_classes, shape, settings, recipe, seed), settings


def weights_of(model) -> list[np.ndarray]:
    """Those of the last layer come last."""
    return [v.numpy() for layer in model.layers for v in layer.weights]


@pytest.mark.parametrize("approach", ["convlstm", "lrcn"])
def test_a_network_of_other_classes_and_frames_starts_from_them(approach, tmp_path):
    learned, settings = build(approach, 7)
    pretraining.save(tmp_path / "a.npz", learned, settings)
    started, settings = build(approach, 3, (16, 32, 48), seed=2)
    before = weights_of(started)
    pretraining.start(started, pretraining.read(tmp_path / "a.npz", approach, settings))
    after, expected = weights_of(started), weights_of(learned)
    for found, was in zip(after[-2:], before[-2:], strict=True):
        np.testing.assert_array_equal(found, was)
    for found, learnt in zip(after[:-2], expected[:-2], strict=True):
        np.testing.assert_allclose(found, learnt, rtol=1e-3, atol=1e-6)  # stored in 16 bits
    assert sum(array.size for array in after[:-2]) > 300_000


@pytest.mark.parametrize("approach", ["convlstm", "lrcn"])
def test_the_weights_of_the_project_are_those_of_its_settings(approach):
    model, settings = build(approach, 5)
    file = pretraining.file_of(approach, settings)
    assert file == Path("weights") / f"{approach}.npz"
    before = weights_of(model)
    pretraining.start(model, pretraining.read(ROOT / file, approach, settings))
    after = weights_of(model)
    assert all(np.isfinite(array).all() for array in after)
    assert any(np.abs(now - was).max() > 0.1 for now, was in zip(after, before, strict=True))


def test_the_sample_is_trained_from_random_weights():
    sample = load(ROOT / "params.yaml")
    assert sample.dataset.name == "sample"
    assert pretraining.file_of("lrcn", sample.approach("lrcn")) is None
    assert pretraining.file_of("i3d", sample.approach("i3d")) is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"see": "pixels"}, "lrcn.see: expected motion, .* Received: pixels"),
        ({"shift": False}, "lrcn.shift: expected True, .* Received: False"),
        ({"width": 8}, "lrcn.width: expected 24, .* Received: 8"),
        ({"units": 32}, r"lrcn.units: expected 64, .* Received: 32\. .*lrcn.weights to null"),
    ],
)
def test_other_settings_are_refused(changes, told):
    settings = PARAMS.approach("lrcn").model_copy(update=changes)
    with pytest.raises(UserError, match=told):
        pretraining.read(ROOT / "weights/lrcn.npz", "lrcn", settings)


def plain_array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.ones(3))
    return file.getvalue()


CUT = (ROOT / "weights/lrcn.npz").read_bytes()[:-1000]


@pytest.mark.parametrize("content", [None, b"", b"version https://git-lfs", plain_array(), CUT])
def test_a_missing_or_damaged_file_is_one_line(content, tmp_path):
    if content is not None:
        (tmp_path / "a.npz").write_bytes(content)
    told = (
        r"weights that lrcn starts from in .*a\.npz\. Received: [^.]*\. Run `git checkout weights`"
    )
    with pytest.raises(UserError, match=told) as refused:
        pretraining.read(tmp_path / "a.npz", "lrcn", PARAMS.approach("lrcn"))
    assert "pickle" not in str(refused.value)
    assert "context manager" not in str(refused.value)


def test_a_training_starts_from_them(in_tmp_path, monkeypatch):
    """What `run.train` gives to `fit` is a network with the weights of the file."""
    clips = [
        store.Clip(f"{c}/v_{c}_g0{g}_c01.avi", c, f"g0{g}", f"{c}{g}", 40, 25.0, 64, 64)
        for c in "AB"
        for g in range(1, 6)
    ]
    Path("data").mkdir()
    store.write_clips(Path("data/clips.csv"), clips)
    names = [clip.clip for clip in clips]
    store.create(Path("data/frames.h5"), names, [clip.label for clip in clips], SHAPE)
    splits.write(Path("data/split.csv"), splits.assign(clips, 5, 27))
    shutil.copytree(ROOT / "weights", "weights")
    built = []

    class StopError(Exception):
        pass

    def fit_nothing(build, *_, **__):
        built.append(build())
        raise StopError

    monkeypatch.setattr(run.fit, "fit", fit_nothing)
    for name in ("folder", "sample"):
        dataset = PARAMS.dataset.model_copy(update={"name": name})
        params = load(ROOT / "params.yaml").model_copy(update={"dataset": dataset})
        with pytest.raises(StopError):
            run.train(Trial("lrcn", "group", 0, 27), params, Path("models/lrcn"))
    learned = pretraining.read(Path("weights/lrcn.npz"), "lrcn", PARAMS.approach("lrcn"))
    for model, same in zip(built, (True, False), strict=True):
        first = next(v.numpy() for layer in model.layers for v in layer.weights)
        assert np.array_equal(first, learned[0]) == same
