import keras
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from har.evaluation import metrics
from har.nn.preprocessing import AverageViews
from har.training import calibration


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def loss(probabilities: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> float:
    """Cross-entropy of the averaged views, by its definition; probabilities are (N, V, C)."""
    views = softmax(np.log(probabilities) / temperature).mean(axis=1)
    return -np.mean([np.log(view[label]) for view, label in zip(views, labels, strict=True)])


def honest(n: int, n_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, C), and labels that are drawn from what they say."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, n_classes))
    chances = softmax(logits).cumsum(axis=1)
    return logits, np.minimum((rng.uniform(size=(n, 1)) > chances).sum(axis=1), n_classes - 1)


@settings(deadline=None, max_examples=10)
@given(true=st.floats(0.3, 5), n_classes=st.integers(2, 6), seed=st.integers(0, 99))
def test_a_known_temperature_is_found(true, n_classes, seed):
    logits, labels = honest(6000, n_classes, seed)
    found = calibration.temperature(softmax(logits * true)[:, None], labels)
    assert found == pytest.approx(true, rel=0.12)


@settings(deadline=None, max_examples=15)
@given(scale=st.floats(0.5, 3), V=st.integers(1, 3), n=st.integers(40, 80), seed=st.integers(0, 99))
def test_logits_as_strong_again_are_divided_by_as_much_again(scale, V, n, seed):
    logits, labels = honest(n, 4, seed)
    noise = np.random.default_rng(seed).normal(0, 0.3, (n, V, 4))
    views = logits[:, None] + noise
    one = calibration.temperature(softmax(views), labels)
    other = calibration.temperature(softmax(views * scale), labels)
    assume(0.55 < one < 5)  # both temperatures are inside the bounds
    assert other == pytest.approx(one * scale, rel=2e-3)


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 12),
    V=st.integers(1, 4),
    C=st.integers(2, 5),
    strength=st.floats(0.1, 8),
    seed=st.integers(0, 10_000),
)
def test_it_never_makes_validation_worse_and_stays_in_bounds(n, V, C, strength, seed):
    rng = np.random.default_rng(seed)
    probabilities = softmax(rng.normal(0, strength, (n, V, C)))
    probabilities = np.maximum(probabilities, 1e-9)
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    labels = rng.integers(0, C, n)
    found = calibration.temperature(probabilities, labels)
    assert 0.25 - 1e-9 <= found <= 16 + 1e-9
    assert loss(probabilities, labels, found) <= loss(probabilities, labels) + 1e-6


def test_the_lowest_of_several_minima_is_found():
    """With views that contradict each other the loss is not convex."""
    rng = np.random.default_rng(1233)
    n, V, C = rng.integers(1, 12), rng.integers(1, 5), rng.integers(2, 6)
    probabilities = np.maximum(softmax(rng.normal(0, rng.uniform(0.1, 10), (n, V, C))), 1e-9)
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    labels = rng.integers(0, C, n)
    grid = np.exp(np.linspace(np.log(0.25), np.log(16), 200))
    lowest = min(loss(probabilities, labels, place) for place in grid)
    found = calibration.temperature(probabilities, labels)
    assert loss(probabilities, labels, found) <= lowest + 1e-4


def test_certain_probabilities_give_a_finite_temperature():
    probabilities = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], np.float32)[:, None]
    for labels in ([0, 1, 0], [0, 1, 1], [1, 0, 1]):
        assert np.isfinite(calibration.temperature(probabilities, np.array(labels)))


def network(views: int, seed: int = 1) -> keras.Model:
    """From (2, 4) to three classes; of two views, each row is one."""
    keras.utils.set_random_seed(seed)
    clips = keras.Input((2, 4))
    if views == 1:
        x = keras.layers.Flatten()(clips)
    else:
        x = keras.layers.Reshape((1, 4))(keras.ops.reshape(clips, (-1, 1, 4)))
        x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(
        3,
        "softmax",
        kernel_initializer=keras.initializers.RandomNormal(0, 2, seed),
        bias_initializer=keras.initializers.RandomNormal(0, 1, seed),
        dtype="float32",
        name="classes",
    )(x)
    if views == 2:
        x = AverageViews(2)(x)
    return keras.Model(clips, x)


def clips_for(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (n, 2, 4)).astype(np.float32)


def logits_of(model: keras.Model, clips: np.ndarray, views: int) -> np.ndarray:
    """(N, V, 3), by hand."""
    kernel, bias = model.get_layer("classes").get_weights()
    rows = clips.reshape(len(clips), views, -1)
    return rows @ kernel + bias


@pytest.mark.parametrize("views", [1, 2])
def test_the_network_itself_becomes_calibrated(views):
    model = network(views)
    clips = clips_for(50)
    logits = logits_of(model, clips, views)
    labels = (logits.mean(axis=1) / 2 + np.random.default_rng(5).gumbel(size=(50, 3))).argmax(1)
    before = model.predict(clips, verbose=0)
    np.testing.assert_allclose(before, softmax(logits).mean(axis=1), atol=1e-5)

    found = calibration.calibrate(model, clips, labels, batch=16)
    assert found == pytest.approx(calibration.temperature(softmax(logits), labels), rel=1e-3)
    assert 1.2 < found < 10, "a case in which nothing happens"
    others = clips_for(20, seed=1)
    expected = softmax(logits_of(network(views), others, views) / found).mean(axis=1)
    after = model.predict(others, verbose=0)
    np.testing.assert_allclose(after, expected, atol=1e-5)
    if views == 1:
        plain = network(1).predict(others, verbose=0)
        np.testing.assert_array_equal(after.argmax(axis=1), plain.argmax(axis=1))
    # What is calibrated needs no more of it.
    assert calibration.calibrate(model, clips, labels, batch=50) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize(
    ("rows", "labels", "expected"),
    [
        ([[0.9, 0.1]], [0], 0.1),
        ([[0.9, 0.1]], [1], 0.9),
        ([[1.0, 0.0], [0.0, 1.0]], [0, 1], 0.0),
        ([[1.0, 0.0], [0.0, 1.0]], [1, 0], 1.0),
        # One bin: three of four are right, at a confidence of 0.75.
        ([[0.75, 0.25]] * 4, [0, 0, 0, 1], 0.0),
        # One bin, different confidences: |0.625 - 0.5|.
        ([[0.61, 0.39], [0.64, 0.36]], [0, 1], 0.125),
        # Two bins do not make up for one another: (|0.55 - 1| + |0.95 - 0|) / 2.
        ([[0.55, 0.45], [0.95, 0.05]], [0, 1], 0.7),
        # Bins count by their clips: 3/4 of |0.8 - 2/3|, 1/4 of |0.6 - 1|.
        ([[0.8, 0.2]] * 3 + [[0.6, 0.4]], [0, 0, 1, 0], 0.75 * (0.8 - 2 / 3) + 0.25 * 0.4),
        ([[0.2, 0.3, 0.1, 0.4]], [3], 0.6),
    ],
)
def test_the_error_by_hand(rows, labels, expected):
    found = metrics.calibration_error(np.array(rows), np.array(labels))
    assert type(found) is float
    assert found == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=25)
@given(n=st.integers(1, 60), C=st.integers(2, 6), seed=st.integers(0, 999))
def test_the_error_is_that_of_its_definition(n, C, seed):
    rng = np.random.default_rng(seed)
    probabilities, labels = softmax(rng.normal(0, 2, (n, C))), rng.integers(0, C, n)
    expected = 0.0
    for low in range(10):
        confidence = probabilities.max(axis=1)
        inside = (confidence >= low / 10) & ((confidence < (low + 1) / 10) | (low == 9))
        if inside.any():
            right = (probabilities.argmax(axis=1) == labels)[inside].mean()
            expected += inside.mean() * abs(confidence[inside].mean() - right)
    found = metrics.calibration_error(probabilities, labels)
    assert found == pytest.approx(expected, abs=1e-9)
    assert 0 <= found <= 1


def test_who_is_right_as_often_as_he_says_has_hardly_an_error():
    logits, labels = honest(20_000, 5)
    assert metrics.calibration_error(softmax(logits), labels) < 0.02
    for strength in (0.4, 2.5):
        spoilt = softmax(logits * strength)
        assert metrics.calibration_error(spoilt, labels) > 0.08
        mended = softmax(np.log(spoilt) / calibration.temperature(spoilt[:, None], labels))
        assert metrics.calibration_error(mended, labels) < 0.02
