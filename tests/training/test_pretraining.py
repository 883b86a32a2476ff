"""Weights learned on rendered people: written, read, and refused where they do not fit."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from har.errors import UserError
from har.params import load
from har.training import pretraining

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
    pretraining.start(started, tmp_path / "a.npz", settings)
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
    pretraining.start(model, ROOT / file, settings)
    after = weights_of(model)
    assert all(np.isfinite(array).all() for array in after)
    assert any(np.abs(now - was).max() > 0.1 for now, was in zip(after, before, strict=True))


def test_the_sample_is_trained_from_random_weights():
    sample = load(ROOT / "params.yaml")
    assert sample.dataset.name == "sample"
    assert pretraining.file_of("lrcn", sample.approach("lrcn")) is None
    assert pretraining.file_of("i3d", sample.approach("i3d")) is None


@pytest.mark.parametrize("changes", [{"see": "pixels"}, {"shift": False}, {"width": 8}])
def test_other_settings_are_refused(changes, tmp_path):
    learned, settings = build("lrcn", 3)
    pretraining.save(tmp_path / "a.npz", learned, settings)
    other, settings = build("lrcn", 3, **changes)
    (key,) = changes
    with pytest.raises(
        UserError, match=rf"Expected the settings .*Received: .*{key}.*lrcn.weights"
    ):
        pretraining.start(other, tmp_path / "a.npz", settings)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04"])
def test_a_damaged_file_is_one_line(content, tmp_path):
    (tmp_path / "a.npz").write_bytes(content)
    model, settings = build("lrcn", 3)
    with pytest.raises(UserError, match=r"a\.npz cannot be read: .*Restore it from Git"):
        pretraining.start(model, tmp_path / "a.npz", settings)
