import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from layer_helpers import noise, randomise

from har.nn.pooling import MaxPooling3D, PooledConv2D, tile_maxima


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


@settings(deadline=None, max_examples=25)
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
def test_a_pooled_convolution_is_a_convolution_and_pooling(pool, arguments, shape):
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
