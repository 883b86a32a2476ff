"""A linear classifier of features, by logistic regression, as the weights of a dense layer.

On a few hundred clips it is quicker than a head trained by gradient steps and at least as accurate
(docs/results.md). The optimum is unique: the result depends on no seed.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import numpy as np
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from har.training.fit import Fit

# Inverse strengths of the L2 penalty (scikit-learn's C) that `choose` tries.
STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


class Linear(NamedTuple):
    """Weights of a dense softmax layer: kernel float32 (D, C), bias float32 (C,)."""

    kernel: np.ndarray
    bias: np.ndarray

    def probabilities(self, x: np.ndarray, temperature: float = 1.0) -> np.ndarray:
        """Return class probabilities of summaries (N, D): float64 (N, C), rows sum to 1."""
        return softmax((x.astype(np.float64) @ self.kernel + self.bias) / temperature, axis=1)


def summaries(model: keras.Model, features: np.ndarray) -> np.ndarray:
    """Return what the classifier of a model of features (N, V, T, D) sees: float32 (N, D')."""
    part = keras.Model(model.input, model.get_layer("summary").output)
    return part.predict(np.asarray(features, np.float32), batch_size=64, verbose=0)


def fit(x: np.ndarray, labels: np.ndarray, strength: float) -> Linear:
    """Fit a logistic regression to x (N, D); classes weigh the same. Every class needs a label."""
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale == 0] = 1.0
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
    model.fit((x - mean) / scale, labels)
    kernel, bias = model.coef_.T, model.intercept_
    if kernel.shape[1] == 1:  # two classes: scikit-learn keeps the logit of the second alone
        kernel, bias = np.hstack([-kernel / 2, kernel / 2]), np.array([-bias[0] / 2, bias[0] / 2])
    kernel = kernel / scale[:, None]  # the weights take x as it is, not standardised
    return Linear(kernel.astype(np.float32), (bias - mean @ kernel).astype(np.float32))


def choose(
    parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]], n_classes: int
) -> float:
    """Return the strength with the lowest mean cross-entropy on validation groups.

    Of each part: training summaries and labels, validation summaries and labels.
    """

    def loss(strength: float) -> float:
        return np.mean(
            [
                log_loss(y, fit(x, labels, strength).probabilities(other), labels=range(n_classes))
                for x, labels, other, y in parts
            ]
        )

    return min(STRENGTHS, key=loss)


def fit_head(
    build: Callable[[], keras.Model],
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    n_classes: int,
) -> Fit:
    """Fit the last layer of a network of features (N, V, T, D); validation chooses the penalty."""
    model = build()
    parts = [(summaries(model, features[:]), labels) for features, labels in (train, validation)]
    strength = choose([(*parts[0], *parts[1])], n_classes)
    fitted = fit(*parts[0], strength)
    model.get_layer("classes").set_weights(list(fitted))
    row = {"epoch": 1}
    for prefix, (x, labels) in zip(("", "val_"), parts, strict=True):
        said = fitted.probabilities(x)
        row[f"{prefix}loss"] = float(log_loss(labels, said, labels=range(n_classes)))
        row[f"{prefix}accuracy"] = float((said.argmax(axis=1) == labels).mean())
    return Fit(model, [row], best_epoch=1, epochs_run=1)
