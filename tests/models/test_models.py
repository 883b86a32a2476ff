from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest

from har.models import convlstm, convlstm_tutorial, lrcn, lrcn_tutorial
from har.params import load

PARAMS = load(Path(__file__).resolve().parents[2] / "params.yaml")
TRAIN = PARAMS.train
RATE = {"learning_rate": 0.001}
NEW = {"width": 3, "units": 4, "dropout": 0.2, **RATE}


class Approach(NamedTuple):
    """A network at a small size."""

    module: object
    params: object

    def build(self, shape, train=TRAIN, seed=1, n_classes=3) -> keras.Model:
        keras.utils.set_random_seed(0)  # the same initial weights, whatever `seed` is
        return self.module.build(n_classes, shape, self.params, train, seed)


SMALL = {
    **{
        f"{module.__name__.split('.')[-1]}-{see}": Approach(
            module, module.Params(see=see, shift=see == "both", **NEW)
        )
        for module in (convlstm, lrcn)
        for see in ("pixels", "motion", "both")
    },
    "convlstm_tutorial": Approach(
        convlstm_tutorial,
        convlstm_tutorial.Params(filters=(2, 3), dropout=0.2, recurrent_dropout=0.2, **RATE),
    ),
    "lrcn_tutorial": Approach(
        lrcn_tutorial,
        lrcn_tutorial.Params(filters=(2, 3), pools=(2, 2), dropout=0.25, units=4, **RATE),
    ),
}
approaches = pytest.mark.parametrize("approach", SMALL.values(), ids=SMALL)
of_pixels = pytest.mark.parametrize(
    "approach",
    [approach for approach in SMALL.values() if getattr(approach.params, "see", "") != "motion"],
    ids=[name for name in SMALL if "motion" not in name],
)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """Clips of (N, T, H, W): frames of noise."""
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def layers_of(model: keras.Model) -> list[keras.layers.Layer]:
    return list(model._flatten_layers(include_self=False))


@pytest.mark.parametrize(
    ("name", "n_classes", "parameters"),
    [
        # As the tutorial has them.
        ("convlstm_tutorial", 4, 44_524),
        ("convlstm_tutorial", 50, 177_050),
        ("lrcn_tutorial", 4, 73_060),
        ("lrcn_tutorial", 50, 74_578),
        # As their cards say.
        ("convlstm", 4, 638_028),
        ("lrcn", 4, 351_820),
    ],
)
def test_parameters(name, n_classes, parameters):
    module = {m.__name__.split(".")[-1]: m for m in (a.module for a in SMALL.values())}[name]
    section, recipe = PARAMS.approach(name), PARAMS.recipe(name)
    model = module.build(n_classes, (20, 64, 64), section, recipe, 1)
    assert model.count_params() == parameters
    assert model.name == name
    assert model.input_shape == (None, 20, 64, 64, 3)
    assert model.input.dtype == "uint8"
    assert model.output_shape == (None, n_classes)
    # Time is no loop over the frames' layers.
    assert not any(isinstance(x, keras.layers.TimeDistributed) for x in layers_of(model))


@approaches
@pytest.mark.parametrize("shape", [(4, 16, 16), (3, 16, 24), (2, 25, 18)])
def test_probabilities(approach, shape):
    model = approach.build(shape, n_classes=5)
    clips = noise(3, *shape)
    probabilities = model.predict_on_batch(clips)
    assert probabilities.shape == (3, 5)
    assert probabilities.dtype == np.float32
    assert probabilities.min() >= 0
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(model(clips, training=False), probabilities, atol=1e-6)


@of_pixels
@pytest.mark.parametrize(("centre", "low"), [(False, 0.0), (True, -1.0)])
def test_pixels_are_rescaled_inside(approach, centre, low):
    train = TRAIN.model_copy(update={"centre": centre})
    model = approach.build((2, 16, 16), train)
    front = keras.Model(model.input, model.get_layer("centre" if centre else "augment").output)
    clips = np.arange(512).astype(np.uint8).reshape(1, 2, 16, 16, 1).repeat(3, axis=-1)
    expected = np.tile(np.linspace(low, 1, 256), 2).reshape(1, 2, 16, 16, 1)
    found = front.predict_on_batch(clips)
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), rtol=0, atol=1e-6)
    # In training the range is the same, whatever augmentation does.
    found = np.asarray(front(noise(8, 2, 16, 16), training=True))
    assert low - 1e-6 <= found.min() < low + 0.1
    assert 0.9 < found.max() <= 1 + 1e-6


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("module", [convlstm, lrcn], ids=lambda m: m.__name__.split(".")[-1])
def test_motion_is_that_of_pixels_from_0_to_1_and_comes_after_augmentation(module, centre):
    train = TRAIN.model_copy(update={"centre": centre})
    clips = noise(2, 3, 16, 16)
    for see in ("motion", "both"):
        model = module.build(
            3, clips.shape[1:4], module.Params(see=see, shift=False, **NEW), train, 1
        )
        front = keras.Model(model.input, model.get_layer(see).output)
        pixels = clips / 255
        change = np.diff(pixels, axis=1)
        power = np.sqrt((change**2).mean(axis=(2, 3, 4), keepdims=True))
        expected = change / (power + 0.01)
        if see == "both":
            shown = 2 * pixels - 1 if centre else pixels
            expected = np.concatenate([shown[:, 1:], expected], axis=-1)
        np.testing.assert_allclose(front.predict_on_batch(clips), expected, atol=1e-4)
        found = np.asarray(front(clips, training=True))
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() > 0.01


@approaches
def test_every_frame_and_the_order_in_time_matter(approach):
    model = approach.build((4, 16, 16))
    clips = noise(1, 4, 16, 16)
    expected = model.predict_on_batch(clips)
    for t in range(4):
        other = clips.copy()
        other[:, t] = 255 - other[:, t]
        assert np.abs(model.predict_on_batch(other) - expected).max() > 1e-7, t
    assert np.abs(model.predict_on_batch(clips[:, ::-1]) - expected).max() > 1e-6


@approaches
def test_dropout_and_augmentation_and_the_frames_drawn_follow_the_seed(approach):
    clips = noise(2, 6, 16, 16)
    train = TRAIN.model_copy(update={"frames": 3})

    def output(seed: int) -> np.ndarray:
        return np.asarray(approach.build((6, 16, 16), train, seed)(clips, training=True))

    first = output(1)
    np.testing.assert_array_equal(output(1), first)
    assert np.abs(output(2) - first).max() > 1e-6


@approaches
def test_the_views_of_a_clip_are_averaged(approach):
    drawing = TRAIN.model_copy(update={"frames": 3, "draw": "segments"})
    one, two = approach.build((3, 16, 16), drawing), approach.build((6, 16, 16), drawing)
    two.set_weights(one.get_weights())
    clips = noise(4, 6, 16, 16)
    views = [one.predict_on_batch(clips[:, v::2]) for v in range(2)]
    assert np.abs(views[0] - views[1]).max() > 1e-7
    np.testing.assert_allclose(two.predict_on_batch(clips), np.mean(views, axis=0), atol=1e-5)

    middle = approach.build((6, 16, 16), drawing.model_copy(update={"draw": "middle"}))
    middle.set_weights(one.get_weights())
    np.testing.assert_allclose(middle.predict_on_batch(clips), views[1], atol=1e-5)


@approaches
def test_a_training_step_with_drawn_frames(approach):
    train = TRAIN.model_copy(update={"frames": 3, "precision": "mixed_bfloat16"})
    keras.config.set_dtype_policy(train.precision)
    try:
        model = approach.build((6, 16, 16), train)
    finally:
        keras.config.set_dtype_policy("float32")
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    before = [np.array(w) for w in model.get_weights()]
    # One prediction a clip, not one a view.
    assert model(noise(2, 6, 16, 16), training=True).shape == (2, 3)
    assert np.isfinite(model.train_on_batch(noise(2, 6, 16, 16), np.array([0, 2])))
    assert any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))
    assert model.output.dtype == "float32"


JAX = """
import sys
import numpy as np
import har.nn.layers
import keras

assert keras.backend.backend() == "jax"
given = np.load("clips.npy")
for name in sys.argv[1:]:
    model = keras.saving.load_model(f"{name}.keras")
    np.save(f"{name}.npy", model.predict(given, verbose=0))
    # Built anew and trained there, too: shapes have to be known without any clip.
    fresh = type(model).from_config(model.get_config())
    fresh.compile("sgd", "sparse_categorical_crossentropy")
    assert np.isfinite(fresh.train_on_batch(given, np.array([0, 1, 2])))
"""


def test_jax_builds_trains_and_says_the_same(run_python, in_tmp_path, monkeypatch):
    pytest.importorskip("jax", reason="needs the extra jax")
    clips = noise(3, 6, 16, 16)
    np.save("clips.npy", clips)
    train = TRAIN.model_copy(update={"frames": 3})
    names = ["convlstm-both", "lrcn-motion", "convlstm_tutorial", "lrcn_tutorial"]
    expected = {}
    for name in names:
        model = SMALL[name].build((6, 16, 16), train)
        model.save(f"{name}.keras")
        expected[name] = model.predict_on_batch(clips)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    process = run_python(JAX, *names, cwd=in_tmp_path)
    assert process.returncode == 0, process.stderr
    for name in names:
        np.testing.assert_allclose(np.load(f"{name}.npy"), expected[name], atol=1e-5)
