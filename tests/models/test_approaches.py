"""Every approach, from its section of params.yaml: shapes, order, training, files, cards."""

import ast
import functools
import importlib
import re
from pathlib import Path

import keras
import numpy as np
import pytest

from har.backbones.joined_model import joined_model
from har.nn import model_files
from har.params import approaches, load

ROOT = Path(__file__).resolve().parents[2]
PARAMS = load(ROOT / "params.yaml")
ALL = approaches()
ON_FEATURES = [name for name in ALL if name in PARAMS.features]
ON_FRAMES = [name for name in ALL if name not in PARAMS.features]
# Of what each backbone says of a clip: moments and numbers, few.
SMALL_FEATURES = {"i3d": (2, 3, 16)}
FRAMES = (5, 64, 64)


def module_of(approach: str):
    return importlib.import_module(f"har.models.{approach}")


def shape_of(approach: str) -> tuple[int, int, int]:
    return SMALL_FEATURES[PARAMS.features[approach]] if approach in PARAMS.features else FRAMES


@functools.cache
def build(approach: str, n_classes: int = 3, shape=None) -> keras.Model:
    """Build a network; tests that change it take other arguments than those that look at it."""
    keras.utils.set_random_seed(1)
    model = module_of(approach).build(
        n_classes, shape or shape_of(approach), PARAMS.approach(approach), PARAMS.train, 1
    )
    # Some start from zero there: they would say the same of everything.
    classes = model.get_layer("classes")
    classes.kernel.assign(keras.random.normal(classes.kernel.shape, stddev=0.2, seed=1))
    return model


def inputs_of(approach: str, n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = shape_of(approach)
    if approach in PARAMS.features:
        return rng.random((n, *shape)).astype(np.float32)
    return rng.integers(0, 256, (n, *shape, 3), np.uint8)


def test_the_approaches_are_those_of_the_field():
    assert set(ALL) >= {
        *("single_frame", "cnn3d", "i3d", "convlstm", "lrcn"),
    }


@pytest.mark.parametrize("approach", ALL)
def test_shapes_and_probabilities(approach):
    model = build(approach)
    assert model.input_shape[1:4] == shape_of(approach)
    assert model.input.dtype == ("uint8" if approach in ON_FRAMES else "float32")
    probabilities = model.predict_on_batch(inputs_of(approach, 3))
    assert probabilities.shape == (3, 3)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    last = model.layers[-1]
    assert (last.name, type(last), last.activation) == (
        "classes",
        keras.layers.Dense,
        keras.activations.softmax,
    )
    assert not any(
        isinstance(layer, keras.layers.TimeDistributed)
        for layer in model._flatten_layers(include_self=False)
    )


@pytest.mark.parametrize("approach", ALL)
def test_no_lstm_is_left_to_cudnn(approach):
    """Under JAX it predicts wrongly with Keras 3.15; tests/training/test_devices.py has a GPU."""
    found = [
        layer
        for layer in build(approach)._flatten_layers(include_self=False)
        if isinstance(layer, keras.layers.LSTM)
    ]
    assert bool(found) == approach.startswith("lrcn")
    assert all(layer.use_cudnn is False for layer in found)


# One frame makes one moment, and Keras remarks that a softmax over it says nothing: true.
@pytest.mark.filterwarnings("ignore:You are using a softmax over axis:UserWarning")
@pytest.mark.parametrize("approach", ON_FRAMES)
@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 65, 90)])
def test_frames_of_other_sizes(approach, shape):
    if shape[0] == 1 and getattr(PARAMS.approach(approach), "see", "pixels") != "pixels":
        pytest.skip("one frame has no motion; params.yaml refuses it")
    clips = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), np.uint8)
    assert build(approach, 4, shape).predict_on_batch(clips).shape == (2, 4)


@pytest.mark.parametrize("approach", ALL)
def test_trains_saves_and_loads_with_the_same_predictions(approach, in_tmp_path):
    model = build(approach, 2)
    inputs = inputs_of(approach, 8)
    labels = np.arange(8) % 2
    before = [np.array(w) for w in model.trainable_weights]
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.optimizer.build(model.trainable_variables)  # else the first step is traced twice
    model.fit(inputs, labels, epochs=2, batch_size=4, verbose=0)
    changed = [
        np.abs(np.array(w) - b).max() for w, b in zip(model.trainable_weights, before, strict=True)
    ]
    assert min(changed) > 0, "a weight that nothing trains"
    model_files.save_model(model, Path("model.keras"))
    again = model_files.load_model(Path("model.keras"))
    np.testing.assert_array_equal(again.predict_on_batch(inputs), model.predict_on_batch(inputs))


@pytest.mark.parametrize("approach", ALL)
def test_only_a_single_frame_network_ignores_the_order_of_frames(approach):
    model = build(approach)
    inputs = inputs_of(approach, 4)
    time = 2 if approach in ON_FEATURES else 1
    model_says = model.predict_on_batch(inputs)
    shuffled = model.predict_on_batch(np.flip(inputs, axis=time))
    difference = np.abs(model_says - shuffled).max()
    if approach in ("single_frame", "i3d"):  # I3D's order is within its features
        assert difference < 1e-6
    else:
        assert difference > 1e-6


@pytest.mark.parametrize("approach", ON_FEATURES)
def test_views_are_averaged(approach):
    """Exchanged views are the same clip; another second view is not."""
    model = build(approach)
    inputs = inputs_of(approach, 3)
    expected = model.predict_on_batch(inputs)
    np.testing.assert_allclose(model.predict_on_batch(inputs[:, ::-1]), expected, atol=1e-6)
    other = inputs.copy()
    other[:, 1] = inputs_of(approach, 3, seed=9)[:, 1]
    assert np.abs(model.predict_on_batch(other) - expected).max() > 1e-6


FULL = {"i3d": (1, 8, 1024)}


@pytest.mark.parametrize("approach", ALL)
def test_the_card_says_the_true_number_of_parameters(approach):
    card = ast.get_docstring(ast.parse(Path(module_of(approach).__file__).read_text("utf-8")))
    told = re.search(r"Parameters:\s+([\d,]+)\s+with\s+4\s+classes", card)
    assert told, "the card tells no parameters"
    shape = FULL[PARAMS.features[approach]] if approach in PARAMS.features else (20, 64, 64)
    assert build(approach, 4, shape).count_params() == int(told[1].replace(",", ""))
    for word in ("Idea: ", "Shapes at ", "Cost: ", "Reaches: "):
        assert word in card


def test_a_joined_model_is_the_head_on_the_features_of_all_windows(in_tmp_path):
    network = importlib.import_module("har.backbones.i3d").build((8, 32, 32), "random")
    params = PARAMS.approach("i3d")
    head = module_of("i3d").build(3, (2, *network.output_shape[1:]), params, PARAMS.train, 1)
    head.get_layer("classes").kernel.assign(
        keras.random.normal((head.get_layer("classes").input.shape[-1], 3), seed=1)
    )
    # As after a training; the file must load where this class is not known.
    head.compile(type("Unknown", (keras.optimizers.Adam,), {})(), "sparse_categorical_crossentropy")
    clips = np.random.default_rng(0).integers(0, 256, (2, 2 * 8, 32, 32, 3), np.uint8)
    seen = [network.predict_on_batch(part) for part in np.split(clips, 2, axis=1)]
    expected = head.predict_on_batch(np.stack(seen, axis=1))
    model_files.save_model(joined_model(network, head, 2), Path("whole.keras"))
    whole = model_files.load_model(Path("whole.keras"))
    assert whole.input_shape == (None, 2 * 8, 32, 32, 3)
    assert whole.input.dtype == "uint8"
    np.testing.assert_allclose(whole.predict_on_batch(clips), expected, atol=1e-5)
