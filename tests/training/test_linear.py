"""The linear classifier against its definition, on features made by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from har.training import linear


def make(n: int, n_classes: int, width: int = 5, seed: int = 0):
    """Noise around a place of each class, in features of very different sizes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    places = np.random.default_rng(7).normal(0, 2, (n_classes, width))
    x = (places[labels] + rng.normal(0, 1, (n, width))) * np.logspace(-2, 3, width) + 5
    return x.astype(np.float32), labels


@settings(deadline=None, max_examples=20)
@given(shape=st.tuples(*[st.integers(1, 4)] * 4), seed=st.integers(0, 99))
def test_a_summary_is_mean_and_spread_over_time(shape, seed):
    features = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    found = linear.summarise(features)
    N, V, _, D = shape
    for n in range(N):
        means = [features[n, v].mean(axis=0) for v in range(V)]
        spreads = [features[n, v].std(axis=0) for v in range(V)]
        np.testing.assert_allclose(found[n, :D], np.mean(means, axis=0), atol=1e-5)
        np.testing.assert_allclose(found[n, D:], np.mean(spreads, axis=0), atol=1e-5)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("strength", [0.01, 1.0])
def test_the_fit_is_the_minimum_of_the_penalised_cross_entropy(n_classes, strength):
    x, labels = make(30, n_classes)
    labels[:6] = 0  # classes of different sizes count the same
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    weights = (len(labels) / n_classes / np.bincount(labels))[labels]

    def loss(flat):
        kernel, bias = flat[n_classes:].reshape(-1, n_classes), flat[:n_classes]
        logits = z @ kernel + bias
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        costs = -(weights * logs[np.arange(len(labels)), labels]).sum()
        # With two classes scikit-learn penalises the difference of the two columns.
        size = (np.diff(kernel) if n_classes == 2 else kernel) ** 2
        return strength * costs + size.sum() / 2

    best = minimize(loss, np.zeros(n_classes * (x.shape[1] + 1)), method="BFGS")
    kernel, bias = best.x[n_classes:].reshape(-1, n_classes), best.x[:n_classes]
    logits = z @ kernel + bias
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = linear.fit(x, labels, strength).probabilities(x)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_a_feature_that_never_changes_does_no_harm():
    x, labels = make(20, 3)
    x[:, 1] = 3.0
    assert np.isfinite(linear.fit(x, labels, 0.1).probabilities(x)).all()


def test_the_temperature_divides_the_logits():
    x, labels = make(20, 3)
    fitted = linear.fit(x, labels, 0.1)
    logits = np.log(fitted.probabilities(x)) / 2
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(fitted.probabilities(x, 2.0), expected, rtol=1e-6)


def test_the_strength_is_that_of_the_lowest_validation_loss():
    x, labels = make(60, 3)
    noise = np.random.default_rng(1).normal(size=(60, 40)).astype(np.float32)
    x = np.hstack([x, noise])
    part = x[:30], labels[:30], x[30:], labels[30:]
    losses = [
        -np.log(linear.fit(*part[:2], s).probabilities(part[2])[np.arange(30), part[3]]).mean()
        for s in linear.STRENGTHS
    ]
    assert linear.choose([part], 3) == linear.STRENGTHS[int(np.argmin(losses))]
    assert linear.choose([part, part], 3) == linear.choose([part], 3)
