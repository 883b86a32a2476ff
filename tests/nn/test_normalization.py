import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from layer_helpers import noise

from har.nn.normalization import BatchNormalization


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
