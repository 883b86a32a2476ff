"""Costs against the definition, layer by layer, on networks small enough to count by hand."""

from pathlib import Path

import keras
import pytest

from har.comparison import cost
from har.models import lrcn_tutorial
from har.nn.conv_lstm2d import ConvLSTM2D
from har.nn.time_folding import FoldTime, UnfoldTime
from har.params import load

layers = keras.layers
PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"


def model(shape, *stack) -> keras.Model:
    given = x = keras.Input(shape)
    for layer in stack:
        x = layer(x)
    return keras.Model(given, x)


CASES = {
    "dense": (model((7,), layers.Dense(5)), 7 * 5),
    "dense at each step": (model((3, 7), layers.Dense(5)), 3 * 7 * 5),
    "conv2d": (model((8, 6, 3), layers.Conv2D(4, 3, padding="same")), 8 * 6 * 4 * 9 * 3),
    "conv2d, strided": (model((8, 6, 3), layers.Conv2D(4, 3, 2, padding="same")), 4 * 3 * 4 * 27),
    "conv3d": (
        model((5, 8, 6, 2), layers.Conv3D(4, (3, 1, 1), padding="valid")),
        3 * 8 * 6 * 4 * 3 * 2,
    ),
    "depthwise": (model((8, 6, 3), layers.DepthwiseConv2D(3, padding="same")), 8 * 6 * 3 * 9),
    "a folded clip counts every frame": (
        model((5, 8, 8, 3), FoldTime(), layers.Conv2D(2, 1), UnfoldTime(5)),
        5 * 8 * 8 * 3 * 2,
    ),
    "lstm": (model((6, 7), layers.LSTM(5)), 6 * 4 * 5 * (7 + 5)),
    "convlstm": (
        model((6, 8, 8, 3), ConvLSTM2D(2, 3)),
        6 * 6 * 6 * 4 * 2 * 9 * (3 + 2),
    ),
    "pooling and normalisation are free": (
        model((8, 8, 3), layers.BatchNormalization(), layers.MaxPooling2D(), layers.ReLU()),
        0,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_costs_by_hand(name):
    network, expected = CASES[name]
    assert cost.multiply_adds(network) == expected


def test_a_network_in_a_network_counts_once():
    inner = model((7,), layers.Dense(5))
    assert cost.multiply_adds(model((7,), inner)) == 35


def test_an_unknown_layer_with_weights_is_refused():
    with pytest.raises(TypeError, match=r"Received: Conv2DTranspose"):
        cost.multiply_adds(model((8, 8, 3), layers.Conv2DTranspose(2, 3)))


def test_lrcn_by_hand():
    conv = 64 * 64 * 27 * 16 + 16 * 16 * 9 * 16 * 32 + 4 * 4 * 9 * 32 * 64 + 2 * 2 * 9 * 64 * 64
    params = load(PARAMS)
    section, recipe = params.approach("lrcn_tutorial"), params.recipe("lrcn_tutorial")
    network = lrcn_tutorial.build(4, (20, 64, 64), section, recipe, 1)
    expected = 20 * (conv + 4 * 32 * (64 + 32)) + 32 * 4
    assert cost.multiply_adds(network) == expected


def test_the_latency_is_the_median_after_three_calls_to_warm_up(monkeypatch):
    """Calls of 90 s to warm up, then of 1, 2, 3, 4 and 50 s: the median is 3 s."""
    now, durations = [0.0], iter([90, 90, 90, 1, 2, 3, 4, 50])
    monkeypatch.setattr(cost.time, "perf_counter", lambda: now[0])

    def call():
        now[0] += next(durations)

    assert cost.latency_ms(call, runs=5) == 3000


def test_the_cost_of_a_network_of_frames():
    network = model((7,), layers.Dense(5))
    found = cost.of(network)
    assert (found["parameters"], found["multiply_adds"]) == (7 * 5 + 5, 7 * 5)
    assert found["latency_ms"] > 0
    assert "cores" in cost.machine()
