import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from layer_helpers import around, noise, randomise

from har.nn.conv_lstm2d import ConvLSTM2D


@st.composite
def networks(draw):
    """Shapes and arguments for which the layer is defined."""
    arguments = {
        "filters": draw(st.integers(1, 3)),
        "kernel_size": draw(st.sampled_from([1, 2, 3, (2, 3), (3, 1)])),
        "padding": draw(st.sampled_from(["valid", "same"])),
        "return_sequences": draw(st.booleans()),
        "use_bias": draw(st.booleans()),
    }
    if draw(st.booleans()):
        arguments["strides"] = draw(st.sampled_from([2, (1, 2)]))
    elif draw(st.booleans()):
        arguments["dilation_rate"] = 2
    shape = tuple(draw(st.integers(low, high)) for low, high in [(1, 4), (5, 8), (5, 8), (1, 3)])
    return shape, arguments


@settings(deadline=None, max_examples=12)
@given(network=networks())
def test_outputs_and_gradients_are_those_of_keras(network):
    shape, arguments = network
    ours = around(ConvLSTM2D(**arguments), shape)
    theirs = around(keras.layers.ConvLSTM2D(**arguments), shape)
    assert [w.path.split("/")[-1] for w in ours.weights] == [
        w.path.split("/")[-1] for w in theirs.weights
    ]
    start = randomise(ours)
    theirs.set_weights(start)
    clips = noise(2, *shape, seed=9)
    expected = theirs.predict_on_batch(clips)
    found = ours.predict_on_batch(clips)
    assert found.shape == expected.shape == (2, *ours.output_shape[1:])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)

    target = noise(*expected.shape, seed=10)
    for model in (ours, theirs):
        model.train_on_batch(clips, target)
    for before, a, b in zip(start, ours.get_weights(), theirs.get_weights(), strict=True):
        scale = np.maximum(1, np.abs(before - b))
        assert np.abs((a - b) / scale).max() <= 1e-5


JAX = """
import numpy as np
import har
import jax
import keras
from har.nn.conv_lstm2d import ConvLSTM2D

assert keras.backend.backend() == "jax"
rng = np.random.default_rng(0)
for arguments in (
    {"filters": 3, "kernel_size": 3},
    {"filters": 2, "kernel_size": (2, 3), "strides": 2, "padding": "same"},
    {"filters": 2, "kernel_size": 2, "dilation_rate": 2},
    {"filters": 1, "kernel_size": (3, 1), "use_bias": False},
    {"filters": 2, "kernel_size": 1},
):
    for sequences in (False, True):
        clips = rng.uniform(0, 1, (2, 4, 8, 7, 3)).astype("float32")
        results = []
        for kind in (keras.layers.ConvLSTM2D, ConvLSTM2D):
            layer = kind(**arguments, return_sequences=sequences)
            layer.build(clips.shape)
            if results:
                layer.set_weights(weights)
            else:
                weights = [rng.uniform(-0.5, 0.5, w.shape).astype("float32") for w in layer.weights]
                layer.set_weights(weights)
            fixed = [v.value for v in layer.non_trainable_variables]

            def loss(trained, clips):
                out, _ = layer.stateless_call(trained, fixed, clips)
                weight = np.random.default_rng(1).uniform(0, 1, out.shape).astype("float32")
                return (out * weight).mean(), out

            trained = [v.value for v in layer.trainable_variables]
            gradients, out = jax.grad(loss, argnums=(0, 1), has_aux=True)(trained, clips)
            results.append((out, *gradients[0], gradients[1]))
        for ours, keras_s in zip(*results, strict=True):
            np.testing.assert_allclose(ours, keras_s, rtol=1e-5, atol=1e-5)
print("done")
"""


def test_outputs_and_gradients_are_those_of_keras_on_jax_too(run_python, monkeypatch):
    pytest.importorskip("jax", reason="needs the extra jax")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    process = run_python(JAX)
    assert (process.returncode, process.stdout.strip()) == (0, "done"), process.stderr


def test_it_takes_an_initial_state_and_returns_the_last_one_as_keras_does():
    arguments = {"filters": 2, "kernel_size": 3, "return_state": True, "return_sequences": True}
    ours, theirs = ConvLSTM2D(**arguments), keras.layers.ConvLSTM2D(**arguments)
    clips = noise(2, 3, 6, 7, 1)
    state = [noise(2, 4, 5, 2, seed=1), noise(2, 4, 5, 2, seed=2)]
    theirs(clips)
    ours(clips)
    ours.set_weights(theirs.get_weights())
    for a, b in zip(
        ours(clips, initial_state=state), theirs(clips, initial_state=state), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


@pytest.mark.parametrize("filters", [4, 5, 16])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_gradients_in_a_graph_are_those_of_plain_operations(filters, dropout, monkeypatch):
    """Compiled, with the last state's gradients and dropout: against automatic differentiation."""
    arguments = {"recurrent_dropout": dropout, "return_sequences": True, "return_state": True}

    class Plain(ConvLSTM2D):
        def _recur(self, gates, kernel, h, c, keep):
            states = []
            for t in range(gates.shape[0]):
                h = h if keep is None else h * keep
                z = gates[t] + ops.conv(h, kernel, padding="same")
                i, f, g, o = ops.split(z, 4, axis=-1)
                c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
                h = ops.sigmoid(o) * ops.tanh(c)
                states.append(h)
            return ops.stack(states), c

    found = []
    for kind in (ConvLSTM2D, Plain):
        clips = keras.Input((4, 7, 9, 2))
        state = [keras.Input((5, 7, filters)), keras.Input((5, 7, filters))]
        outputs = kind(filters, 3, seed=1, **arguments)(clips, initial_state=state)
        total = keras.layers.Dense(1)(
            keras.layers.Concatenate()([keras.layers.Flatten()(x) for x in outputs])
        )
        model = keras.Model([clips, *state], total)
        # In a graph TensorFlow now and then gets the unrolled loop's own gradients wrong.
        eagerly = kind is Plain
        model.compile(keras.optimizers.SGD(1.0), lambda y, x: ops.mean(y * x), run_eagerly=eagerly)
        start = randomise(model)
        x = [noise(2, 4, 7, 9, 2), noise(2, 5, 7, filters, seed=1), noise(2, 5, 7, filters, seed=2)]
        model.train_on_batch(x, noise(2, 1, seed=3))
        found.append([b - a for b, a in zip(start, model.get_weights(), strict=True)])
    assert max(np.abs(gradient).max() for gradient in found[1]) > 1e-2
    for ours, plain in zip(*found, strict=True):
        scale = np.maximum(1, np.abs(plain))
        assert np.abs((ours - plain) / scale).max() <= 1e-5


def test_recurrent_dropout_acts_in_training_only():
    clips = noise(2, 3, 6, 6, 1)
    layer = ConvLSTM2D(4, 3, recurrent_dropout=0.5, seed=1)
    without = ConvLSTM2D(4, 3)
    outside = np.asarray(layer(clips))
    without(clips)
    without.set_weights(layer.get_weights())
    np.testing.assert_array_equal(layer(clips, training=False), outside)
    np.testing.assert_array_equal(without(clips, training=True), outside)
    once, again = np.asarray(layer(clips, training=True)), np.asarray(layer(clips, training=True))
    assert np.abs(once - outside).max() > 1e-3
    assert np.abs(once - again).max() > 1e-3
    # The first step has no state that could be dropped.
    np.testing.assert_array_equal(layer(clips[:, :1], training=True), layer(clips[:, :1]))


def test_a_mask_is_refused():
    with pytest.raises(ValueError, match=r"without a mask.*Received: a mask"):
        ConvLSTM2D(1, 3)(noise(2, 3, 6, 6, 1), mask=np.ones((2, 3), bool))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dropout", 0.1),
        ("go_backwards", True),
        ("unroll", True),
        ("data_format", "channels_first"),
        ("activation", "relu"),
        ("recurrent_activation", "hard_sigmoid"),
    ],
)
def test_arguments_it_does_not_know_are_refused(name, value):
    with pytest.raises(ValueError, match=f"Received: other values of {name}.*Use keras.layers"):
        ConvLSTM2D(1, 3, **{name: value})


def test_several_refused_arguments_are_all_named():
    with pytest.raises(ValueError, match="dropout, go_backwards"):
        ConvLSTM2D(1, 3, dropout=0.1, go_backwards=True)
