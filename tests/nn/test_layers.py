import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import ops

from har.nn import layers
from har.nn.layers import (
    BatchNormalization,
    ConvLSTM2D,
    FoldTime,
    MaxPooling3D,
    PooledConv2D,
    ShiftFeatures,
    UnfoldTime,
    tile_maxima,
)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)


@st.composite
def networks(draw):
    """Shapes and arguments for which the layer is defined."""
    arguments = {
        "filters": draw(st.integers(1, 3)),
        "kernel_size": draw(st.sampled_from([1, 2, 3, (2, 3), (3, 1)])),
        "padding": draw(st.sampled_from(["valid", "same"])),
        "return_sequences": draw(st.booleans()),
        "use_bias": draw(st.booleans()),
        "activation": draw(st.sampled_from(["tanh", "relu", "linear"])),
        "recurrent_activation": draw(st.sampled_from(["sigmoid", "hard_sigmoid"])),
    }
    if draw(st.booleans()):
        arguments["strides"] = draw(st.sampled_from([2, (1, 2)]))
    elif draw(st.booleans()):
        arguments["dilation_rate"] = 2
    shape = tuple(draw(st.integers(low, high)) for low, high in [(1, 4), (5, 8), (5, 8), (1, 3)])
    return shape, arguments


def around(layer, shape) -> keras.Model:
    """Put a dense layer before `layer`: its gradient is that of the layer's input."""
    clips = keras.Input(shape)
    model = keras.Model(clips, layer(keras.layers.Dense(shape[-1])(clips)))
    # A loss that is linear in the output, and steps as long as the gradient.
    model.compile(
        keras.optimizers.SGD(1.0),
        lambda weights, outputs: ops.mean(weights * outputs),
        run_eagerly=True,
    )
    return model


def randomise(model: keras.Model) -> list[np.ndarray]:
    weights = [noise(*w.shape, seed=i) - 0.5 for i, w in enumerate(model.weights)]
    model.set_weights(weights)
    return weights


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
from har.nn.layers import ConvLSTM2D

assert keras.backend.backend() == "jax"
rng = np.random.default_rng(0)
for arguments in (
    {"filters": 3, "kernel_size": 3},
    {"filters": 2, "kernel_size": (2, 3), "strides": 2, "padding": "same"},
    {"filters": 2, "kernel_size": 2, "dilation_rate": 2, "activation": "relu"},
    {"filters": 1, "kernel_size": (3, 1), "use_bias": False},
    {"filters": 2, "kernel_size": 1, "recurrent_activation": "hard_sigmoid"},
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
    ],
)
def test_arguments_it_does_not_know_are_refused(name, value):
    with pytest.raises(ValueError, match=f"Received: other values of {name}.*Use keras.layers"):
        ConvLSTM2D(1, 3, **{name: value})


@pytest.mark.parametrize("name", ["activation", "recurrent_activation"])
@pytest.mark.parametrize("value", ["swish", noise], ids=["named", "own"])
def test_activations_it_does_not_know_are_refused(name, value):
    with pytest.raises(ValueError, match=r"expects activations out of linear, relu, tanh.*Use k"):
        ConvLSTM2D(1, 3, **{name: value})


def test_several_refused_arguments_are_all_named():
    with pytest.raises(ValueError, match="dropout, go_backwards"):
        ConvLSTM2D(1, 3, dropout=0.1, go_backwards=True)


@pytest.mark.parametrize(
    "layer",
    [
        ConvLSTM2D(3, (2, 3), recurrent_dropout=0.2, return_sequences=True, strides=2, seed=3),
        FoldTime(name="fold"),
        UnfoldTime(7),
        ShiftFeatures(5),
        PooledConv2D(3, (2, 3), 4, padding="same", activation="relu"),
        MaxPooling3D((1, 2, 2)),
        BatchNormalization(momentum=0.9, epsilon=0.01),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_are_the_same_after_a_round_trip(layer):
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    assert config["registered_name"] == f"har>{type(layer).__name__}"
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()


@settings(deadline=None, max_examples=20)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
    more=st.lists(st.integers(1, 2), max_size=1),
)
def test_unfolding_undoes_folding(shape, more):
    clips = noise(*shape, *more)
    folded = FoldTime()(clips)
    assert folded.shape == (shape[0] * shape[1], *shape[2:], *more)
    for n in range(shape[0]):
        for t in range(shape[1]):
            np.testing.assert_array_equal(folded[n * shape[1] + t], clips[n, t])
    np.testing.assert_array_equal(UnfoldTime(shape[1])(folded), clips)


def test_shapes_of_folding_are_known_before_any_clip_comes():
    clips = keras.Input((5, 8, 6, 3))
    folded = FoldTime()(clips)
    assert folded.shape == (None, 8, 6, 3)
    assert UnfoldTime(5)(folded).shape == (None, 5, 8, 6, 3)
    assert layers.fold(noise(2, 5, 8)).shape == (10, 8)
    assert layers.unfold(noise(10, 8), 5).shape == (2, 5, 8)


@settings(deadline=None, max_examples=15)
@given(
    n=st.integers(1, 3),
    n_frames=st.integers(1, 4),
    channels=st.sampled_from([3, 8, 16, 20]),
    size=st.integers(1, 3),
)
def test_an_eighth_of_the_features_comes_from_the_frame_before_and_one_from_the_one_after(
    n, n_frames, channels, size
):
    clips = noise(n, n_frames, size, size, channels)
    found = ShiftFeatures(n_frames)(clips.reshape(n * n_frames, size, size, channels))
    found = np.asarray(found).reshape(clips.shape)
    part = channels // 8
    for t in range(n_frames):
        before = clips[:, t - 1, ..., :part] if t > 0 else 0
        after = clips[:, t + 1, ..., part : 2 * part] if t + 1 < n_frames else 0
        np.testing.assert_array_equal(found[:, t, ..., :part], before + 0 * found[:, t, ..., :part])
        np.testing.assert_array_equal(
            found[:, t, ..., part : 2 * part], after + 0 * found[:, t, ..., part : 2 * part]
        )
        np.testing.assert_array_equal(found[:, t, ..., 2 * part :], clips[:, t, ..., 2 * part :])


@pytest.mark.parametrize("channels", [8, 20])
def test_what_a_shift_gives_forward_its_gradient_takes_back(channels):
    """⟨shift(x), g⟩ = ⟨x, gradient(g)⟩ for all x and g, since a shift is linear."""
    x, g = (tf.constant(noise(6, 2, 3, channels, seed=seed)) for seed in (1, 2))
    with tf.GradientTape() as tape:
        tape.watch(x)
        shifted = ShiftFeatures(3)(x)
    back = tape.gradient(shifted, x, output_gradients=g)
    np.testing.assert_allclose(ops.sum(shifted * g), ops.sum(x * back), rtol=1e-5)
    # The last frame's first eighth went nowhere, the frame before it to the last one.
    np.testing.assert_array_equal(back[2, ..., : channels // 8], 0 * g[2, ..., : channels // 8])
    np.testing.assert_array_equal(back[1, ..., : channels // 8], g[2, ..., : channels // 8])


@pytest.mark.parametrize("channels", [3, 16, 20])
def test_a_shift_by_slices_is_that_by_kernels(channels, monkeypatch):
    x = noise(6, 2, 3, channels)
    expected = ShiftFeatures(3)(x)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    np.testing.assert_array_equal(ShiftFeatures(3)(x), expected)


def normalised(layer, x, training) -> list[np.ndarray]:
    """Return the output, the moving statistics after it, and the gradients."""
    layer.build(x.shape)
    layer.set_weights([noise(*w.shape, seed=i) + 0.5 for i, w in enumerate(layer.weights)])
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=training)
        loss = ops.sum(ops.cast(y, "float32") * noise(*x.shape, seed=9))
    gradients = tape.gradient(loss, [x, *layer.trainable_variables])
    return [np.asarray(ops.cast(n, "float32")) for n in (y, *layer.weights, *gradients)]


@settings(deadline=None, max_examples=40)
@given(
    shape=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    channels=st.sampled_from([3, 8, 16, 24]),
    training=st.booleans(),
    trainable=st.booleans(),
    arguments=st.fixed_dictionaries(
        {"momentum": st.sampled_from([0.5, 0.95]), "epsilon": st.sampled_from([1e-3, 0.1])},
        optional={"scale": st.booleans(), "center": st.booleans(), "axis": st.sampled_from([1])},
    ),
)
def test_normalisation_is_that_of_keras(shape, channels, training, trainable, arguments):
    """Values, what is remembered of them, and gradients; one number a channel, too."""
    arguments["trainable"] = trainable
    x = 3 * noise(*shape, channels, seed=5) - 1
    ours = normalised(BatchNormalization(**arguments), x, training)
    theirs = normalised(keras.layers.BatchNormalization(**arguments), x, training)
    for found, expected in zip(ours, theirs, strict=True):
        scale = np.maximum(1, np.abs(expected))
        assert np.abs((found - expected) / scale).max() <= 1e-4


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float64"])
def test_normalisation_in_other_precisions_is_that_of_keras(policy):
    x = (3 * noise(4, 3, 3, 16, seed=5) - 1).astype("float32")
    layers_of = (BatchNormalization, keras.layers.BatchNormalization)
    ours, theirs = (normalised(kind(dtype=policy), x, True) for kind in layers_of)
    for found, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0.02, atol=0.05)


def test_normalisation_is_one_operation_and_masks_are_left_to_keras():
    def operations(layer, x, **kwargs):
        function = tf.function(lambda x: layer(x, training=True, **kwargs))
        graph = function.get_concrete_function(tf.TensorSpec(x.shape)).graph
        return [operation.type for operation in graph.get_operations()]

    images = noise(2, 3, 3, 16)
    assert "FusedBatchNormV3" in operations(BatchNormalization(), images)
    assert "FusedBatchNormV3" in operations(BatchNormalization(), noise(2, 4, 3, 3, 16))
    for layer, x in ((BatchNormalization(renorm=True), images), (BatchNormalization(), images[0])):
        assert "FusedBatchNormV3" not in operations(layer, x)
    mask = np.ones((2, 3, 3), bool)
    assert "FusedBatchNormV3" not in operations(BatchNormalization(), images, mask=mask)


@settings(deadline=None, max_examples=20)
@given(
    lengths=st.lists(st.integers(4, 9), min_size=2, max_size=3),
    sizes=st.permutations([1, 2, 3]) | st.permutations([1, 4, 2]),
    padding=st.sampled_from(["same", "valid"]),
)
def test_maxima_of_tiles_are_those_of_max_pooling_and_so_is_their_gradient(lengths, sizes, padding):
    sizes = tuple(sizes[: len(lengths)])  # one is 1: TensorFlow's gradients have 7 axes at most
    shape = (2, *lengths, 3)
    numbers = np.random.default_rng(0).permutation(np.prod(shape))  # no two are equal
    x = tf.constant(numbers.reshape(shape) - 50, tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        found = tile_maxima(x, sizes, padding)
        expected = ops.max_pool(x, sizes, sizes, padding, data_format="channels_last")
        weights = noise(*expected.shape)
        losses = [ops.sum(found * weights), ops.sum(expected * weights)]
    np.testing.assert_array_equal(found, expected)
    ours, theirs = (tape.gradient(loss, x) for loss in losses)
    np.testing.assert_array_equal(ours, theirs)


def test_equal_numbers_of_a_tile_share_its_gradient():
    x = tf.ones((1, 2, 2, 1))
    with tf.GradientTape() as tape:
        tape.watch(x)
        largest = tile_maxima(x, (2, 2), "valid")
    np.testing.assert_array_equal(tape.gradient(largest, x), np.full((1, 2, 2, 1), 0.25))


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("size", [(1, 2, 2), (1, 4, 2)])
def test_pooling_in_space_is_that_of_keras_on_any_backend(size, padding, monkeypatch):
    x = noise(2, 3, 7, 7, 3) - 0.5
    expected = keras.layers.MaxPooling3D(size, padding=padding)(x)
    np.testing.assert_array_equal(MaxPooling3D(size, padding=padding)(x), expected)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    np.testing.assert_array_equal(MaxPooling3D(size, padding=padding)(x), expected)


def test_pooling_with_overlaps_is_left_to_keras(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    x = noise(1, 3, 7, 7, 2)
    expected = keras.layers.MaxPooling3D((1, 3, 3), 2)(x)
    np.testing.assert_array_equal(MaxPooling3D((1, 3, 3), 2)(x), expected)


@pytest.fixture(params=["pixels", "blocks"])
def work_on(request, monkeypatch):
    """Have the layers work as they do on a CPU, or on a GPU."""
    monkeypatch.setattr("har.nn.backend.on_gpu", lambda: request.param == "blocks")
    return request.param


@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    pool=st.integers(1, 4),
    arguments=st.fixed_dictionaries(
        {
            "filters": st.integers(1, 3),
            "kernel_size": st.sampled_from([1, 2, 3, 5, (2, 3), (3, 1)]),
            "padding": st.sampled_from(["valid", "same"]),
            "use_bias": st.booleans(),
            "activation": st.sampled_from([None, "relu", "tanh", "sigmoid"]),
        },
        optional={"strides": st.just(2)},
    ),
    shape=st.tuples(st.sampled_from([8, 12, 9]), st.sampled_from([8, 10, 7]), st.integers(1, 3)),
)
def test_a_pooled_convolution_is_a_convolution_and_pooling(pool, arguments, shape, work_on):
    ours = keras.Sequential([keras.Input(shape), PooledConv2D(pool_size=pool, **arguments)])
    theirs = keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Conv2D(**arguments),
            keras.layers.MaxPooling2D(pool, padding="same"),
        ]
    )
    assert ours.output_shape == theirs.output_shape
    start = randomise(ours)
    theirs.set_weights(start)
    x = noise(2, *shape, seed=3) - 0.5
    weights = noise(2, *ours.output_shape[1:], seed=4)
    gradients = []
    for model in (ours, theirs):
        given_x = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(given_x)
            found = model(given_x)
            loss = ops.sum(found * weights)
        gradients.append((found, *tape.gradient(loss, [given_x, *model.trainable_variables])))
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_a_pooled_convolution_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match=r"which never fall. Received: silu. Use Conv2D and Max"):
        PooledConv2D(1, 3, 2, activation="swish")
    with pytest.raises(ValueError, match="Received: channels_first"):
        PooledConv2D(1, 3, 2, data_format="channels_first")


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, (3, 2)])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("filters", [1, 3])
def test_a_recurrence_of_blocks_is_that_of_pixels(kernel, padding, filters, monkeypatch):
    """Values, last states and gradients, where height and width are even, so that it is used."""
    arguments = {"padding": padding, "return_sequences": True, "return_state": True}
    found = []
    for blocks in (False, True):
        monkeypatch.setattr("har.nn.backend.on_gpu", lambda blocks=blocks: blocks)
        layer = ConvLSTM2D(filters, kernel, **arguments)
        even = [8 + (size - 1 if padding == "valid" else 0) for size in layer.cell.kernel_size]
        clips = tf.constant(noise(2, 3, *even, 2))
        states = [tf.constant(noise(2, 8, 8, filters, seed=i)) for i in (1, 2)]
        layer.build(clips.shape)
        layer.set_weights([noise(*w.shape, seed=i) - 0.5 for i, w in enumerate(layer.weights)])
        assert layer._block_size((None, 8, 8, filters)) == 1 + blocks
        with tf.GradientTape() as tape:
            tape.watch([clips, *states])
            outputs = layer(clips, initial_state=states)
            loss = sum(ops.sum(x * noise(*x.shape, seed=5)) for x in outputs)
        gradients = tape.gradient(loss, [clips, *states, *layer.trainable_variables])
        found.append([*outputs, *gradients])
    for ours, expected in zip(*found, strict=True):
        scale = np.maximum(1, np.abs(expected))
        assert np.abs((np.asarray(ours) - expected) / scale).max() <= 1e-5


def test_an_odd_size_a_stride_or_many_filters_leave_the_recurrence_to_pixels(monkeypatch):
    monkeypatch.setattr("har.nn.backend.on_gpu", lambda: True)
    assert ConvLSTM2D(4, 3)._block_size((None, 8, 9, 4)) == 1
    assert ConvLSTM2D(4, 3, strides=2)._block_size((None, 8, 8, 4)) == 1
    assert ConvLSTM2D(4, 3, dilation_rate=2)._block_size((None, 8, 8, 4)) == 1
    assert ConvLSTM2D(8, 3)._block_size((None, 8, 8, 8)) == 1
