"""The linear classifier against its definition, on features made by hand."""

import functools

import numpy as np
import pytest
from scipy.optimize import minimize

from har.models import i3d
from har.training import linear

SUMMARY = ("mean", "spread", "largest")


def make(n: int, n_classes: int, width: int = 5, seed: int = 0):
    """Noise around a place of each class, in features of very different sizes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    places = np.random.default_rng(7).normal(0, 2, (n_classes, width))
    x = (places[labels] + rng.normal(0, 1, (n, width))) * np.logspace(-2, 3, width) + 5
    return x.astype(np.float32), labels


@pytest.mark.parametrize(
    "kinds", [("mean",), ("spread",), ("largest",), ("mean", "spread", "largest")]
)
def test_a_summary_by_its_definition(kinds):
    N, V, T, D = 5, 3, 4, 6
    features = np.random.default_rng(0).normal(size=(N, V, T, D)).astype(np.float32)
    model = i3d.build(3, (V, T, D), i3d.Params(summary=kinds), None, 0)
    found = linear.summaries(model, features)
    assert found.shape == (N, D * len(kinds))
    for n in range(N):
        windows = [features[n, v] for v in range(V)]
        expected = {
            "mean": np.mean([w.mean(axis=0) for w in windows], axis=0),
            "spread": np.mean([w.std(axis=0) for w in windows], axis=0),
            "largest": np.max([w.mean(axis=0) for w in windows], axis=0),
        }
        wanted = np.concatenate([expected[kind] for kind in kinds])
        np.testing.assert_allclose(found[n], wanted, atol=1e-5)


def test_the_network_predicts_what_the_regression_does():
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 3
    features = rng.normal(size=(40, 2, 3, 5)).astype(np.float32) + labels[:, None, None, None]
    build = functools.partial(i3d.build, 3, (2, 3, 5), i3d.Params(summary=SUMMARY), None, 0)
    train, validation = (features[:25], labels[:25]), (features[25:], labels[25:])
    found = linear.fit_head(build, train, validation, 3)
    x = linear.summaries(found.model, features)
    expected = linear.fit(
        x[:25], labels[:25], linear.choose([(x[:25], labels[:25], x[25:], labels[25:])], 3)
    )
    said = found.model.predict(features, verbose=0)
    np.testing.assert_allclose(said, expected.probabilities(x), atol=1e-5)
    [row] = found.history
    right = said[25:].argmax(axis=1) == labels[25:]
    assert row["val_accuracy"] == pytest.approx(right.mean())
    own = said[25:][np.arange(15), labels[25:]]
    assert row["val_loss"] == pytest.approx(-np.log(own).mean(), rel=1e-4)


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
