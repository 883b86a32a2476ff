import keras
import numpy as np
import pytest

from har.nn import layers
from har.training.batches import Batches

SHAPE = (4, 10, 10)


@pytest.fixture(autouse=True)
def float32():
    yield
    keras.config.set_dtype_policy("float32")


def train(precision: str) -> tuple[list[float], list[np.ndarray]]:
    """Train a small ConvLSTM and LSTM on squares that go right or left."""
    keras.config.set_dtype_policy(precision)
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(0)
    labels = np.arange(48) % 2
    frames = rng.integers(0, 60, (48, *SHAPE, 3), np.uint8)
    for clip, label in zip(frames, labels, strict=True):
        for t in range(SHAPE[0]):
            at = 2 * t if label else 6 - 2 * t
            clip[t, 3:7, at : at + 3] = 255
    clips = keras.Input((*SHAPE, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(clips)
    x = layers.ConvLSTM2D(4, 3, recurrent_dropout=0.2, return_sequences=True, seed=1)(x)
    x = layers.FoldTime()(x)
    x = keras.layers.Flatten()(keras.layers.MaxPooling2D(2)(x))
    x = keras.layers.LSTM(8, use_cudnn=False)(layers.UnfoldTime(SHAPE[0])(x))
    model = keras.Model(clips, keras.layers.Dense(2, "softmax", dtype="float32")(x))
    model.compile(
        keras.optimizers.Adam(0.01),
        "sparse_categorical_crossentropy",
        jit_compile="auto" if keras.backend.backend() == "jax" else False,
    )
    model.optimizer.build(model.trainable_variables)  # else the first step is traced twice
    feed = Batches(frames, labels, 8, seed=1)
    history = model.fit(feed, epochs=8, shuffle=False, verbose=0)
    return history.history["loss"], model.get_weights()


@pytest.mark.parametrize(
    "precision",
    [
        "float32",
        pytest.param("mixed_bfloat16", marks=pytest.mark.slow),
        pytest.param("mixed_float16", marks=pytest.mark.slow),
    ],
)
def test_every_precision_learns_and_the_same_seed_gives_the_same_bits(precision):
    losses, weights = train(precision)
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.5 * losses[0]
    assert all(w.dtype == np.float32 for w in weights if np.issubdtype(w.dtype, np.floating))
    again, same = train(precision)
    assert again == losses
    for a, b in zip(weights, same, strict=True):
        np.testing.assert_array_equal(a, b)
