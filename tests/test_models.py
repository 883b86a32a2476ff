from pathlib import Path

import keras
import numpy as np
import pytest

from har.models import convlstm, lrcn
from har.params import ConvLSTMParams, LRCNParams, load

TRAIN = load(Path(__file__).resolve().parents[1] / "params.yaml").train
TUTORIAL = {
    convlstm: ConvLSTMParams(
        filters=(4, 8, 14, 16), dropout=0.2, recurrent_dropout=0.2, learning_rate=0.001
    ),
    lrcn: LRCNParams(
        filters=(16, 32, 64, 64), pools=(4, 4, 2, 2), dropout=0.25, units=32, learning_rate=0.001
    ),
}
SMALL = {
    convlstm: ConvLSTMParams(
        filters=(2, 3), dropout=0.2, recurrent_dropout=0.2, learning_rate=0.001
    ),
    lrcn: LRCNParams(filters=(2, 3), pools=(2, 2), dropout=0.25, units=4, learning_rate=0.001),
}
approaches = pytest.mark.parametrize("approach", TUTORIAL, ids=lambda a: a.__name__.split(".")[-1])


def layers_of(model: keras.Model) -> list[keras.layers.Layer]:
    return list(model._flatten_layers(include_self=False))


@pytest.mark.parametrize(
    ("approach", "n_classes", "parameters"),
    [
        (convlstm, 4, 44_524),
        (convlstm, 50, 177_050),
        (lrcn, 4, 73_060),
        (lrcn, 50, 74_578),
    ],
)
def test_parameters_are_those_of_the_tutorial(approach, n_classes, parameters):
    model = approach.build(n_classes, (20, 64, 64), TUTORIAL[approach], TRAIN, 1)
    assert model.count_params() == parameters
    assert model.input_shape == (None, 20, 64, 64, 3)
    assert model.input.dtype == "uint8"
    assert model.output_shape == (None, n_classes)
    # Time is no loop over the frames' layers.
    assert not any(isinstance(x, keras.layers.TimeDistributed) for x in layers_of(model))


@approaches
@pytest.mark.parametrize("shape", [(4, 16, 16), (3, 16, 24), (5, 25, 18), (1, 16, 16)])
def test_probabilities(approach, shape):
    model = approach.build(5, shape, SMALL[approach], TRAIN, 1)
    clips = np.random.default_rng(0).integers(0, 256, (3, *shape, 3), np.uint8)
    probabilities = model.predict_on_batch(clips)
    assert probabilities.shape == (3, 5)
    assert probabilities.dtype == np.float32
    assert probabilities.min() >= 0
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(model(clips, training=False), probabilities, atol=1e-6)


@approaches
@pytest.mark.parametrize(("centre", "low"), [(False, 0.0), (True, -1.0)])
def test_pixels_are_rescaled_inside(approach, centre, low):
    train = TRAIN.model_copy(update={"centre": centre})
    model = approach.build(3, (1, 16, 16), SMALL[approach], train, 1)
    front = keras.Model(model.input, model.get_layer("centre" if centre else "augment").output)
    clips = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16, 1).repeat(3, axis=-1)
    expected = np.linspace(low, 1, 256).reshape(1, 1, 16, 16, 1)
    found = front.predict_on_batch(clips)
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), rtol=0, atol=1e-6)


@approaches
def test_every_frame_matters(approach):
    model = approach.build(3, (4, 16, 16), SMALL[approach], TRAIN, 1)
    clips = np.random.default_rng(0).integers(0, 256, (1, 4, 16, 16, 3), np.uint8)
    expected = model.predict_on_batch(clips)
    for t in range(4):
        other = clips.copy()
        other[:, t] = 255 - other[:, t]
        assert np.abs(model.predict_on_batch(other) - expected).max() > 1e-7, t


@approaches
def test_order_in_time_matters(approach):
    model = approach.build(3, (4, 16, 16), SMALL[approach], TRAIN, 1)
    clips = np.random.default_rng(0).integers(0, 256, (2, 4, 16, 16, 3), np.uint8)
    there, back = model.predict_on_batch(clips), model.predict_on_batch(clips[:, ::-1])
    assert np.abs(there - back).max() > 1e-6


@approaches
def test_dropout_and_augmentation_follow_the_seed(approach):
    clips = np.random.default_rng(0).integers(0, 256, (2, 4, 16, 16, 3), np.uint8)

    def train(seed: int) -> np.ndarray:
        keras.utils.set_random_seed(0)  # the same initial weights
        model = approach.build(3, (4, 16, 16), SMALL[approach], TRAIN, seed)
        return np.asarray(model(clips, training=True))

    np.testing.assert_array_equal(train(1), train(1))
    assert np.abs(train(1) - train(2)).max() > 1e-6
