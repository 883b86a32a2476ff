"""What a GPU computes is what a CPU computes. Skipped without a GPU."""

import keras
import numpy as np
import pytest

from har.nn import layers

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "jax"
    or not keras.distribution.list_devices()[0].startswith(("gpu", "cuda")),
    reason="needs KERAS_BACKEND=jax and a GPU",
)


@pytest.mark.parametrize("kind", ["lstm", "convlstm"])
def test_training_mode_prediction_and_the_cpu_agree_on_a_trained_network(kind):
    rng = np.random.default_rng(0)
    labels = np.arange(64) % 2
    keras.utils.set_random_seed(1)
    if kind == "lstm":
        x = rng.normal(size=(64, 20, 16)).astype(np.float32) + labels[:, None, None]
        inputs = keras.Input((20, 16))
        # cuDNN's LSTM under JAX predicts wrongly with Keras 3.15.
        y = keras.layers.LSTM(32, use_cudnn=False)(inputs)
    else:
        x = rng.normal(size=(64, 6, 12, 12, 3)).astype(np.float32)
        x += labels[:, None, None, None, None]
        inputs = keras.Input((6, 12, 12, 3))
        y = keras.layers.Flatten()(layers.ConvLSTM2D(4, 3)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2, "softmax")(y))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, labels, epochs=10, batch_size=16, verbose=0)
    training = np.asarray(model(x, training=True))
    predicted = model.predict(x, verbose=0)
    with keras.device("cpu:0"):
        on_cpu = keras.models.clone_model(model)
        on_cpu.set_weights(model.get_weights())
        expected = np.asarray(on_cpu(x))
    # Products of a GPU are of TF32 by default: ten bits of mantissa.
    np.testing.assert_allclose(training, expected, atol=2e-2)
    np.testing.assert_allclose(predicted, expected, atol=2e-2)
    assert (predicted.argmax(1) == labels).mean() > 0.95
