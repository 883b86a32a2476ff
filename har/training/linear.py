"""A linear classifier of features, by logistic regression, as the weights of a dense layer.

On the few hundred clips that people have, logistic regression is quicker than a head trained by
gradient steps, has one setting, and is at least as accurate (docs/results.md). The optimum is
unique: the result depends on no seed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Inverse strengths of the L2 penalty (scikit-learn's C) that `choose` tries."""


class Linear(NamedTuple):
    """Weights of a dense softmax layer.

    Attributes:
        kernel: float32 (D, C).
        bias: float32 (C,).
    """

    kernel: np.ndarray
    bias: np.ndarray

    def probabilities(self, x: np.ndarray, temperature: float = 1.0) -> np.ndarray:
        """Return class probabilities of summaries (N, D): float64 (N, C), rows sum to 1."""
        logits = (x.astype(np.float64) @ self.kernel + self.bias) / temperature
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)


def summarise(features: np.ndarray) -> np.ndarray:
    """Return the mean and the standard deviation over time of each feature.

    Args:
        features: (N, V, T, D): V windows of T moments.

    Returns:
        float32 (N, 2·D): both averaged over the windows. `har.models.i3d` computes the same.
    """
    features = np.asarray(features, np.float32)
    mean, spread = features.mean(axis=(1, 2)), features.std(axis=2).mean(axis=1)
    return np.concatenate([mean, spread], axis=1)


def fit(x: np.ndarray, labels: np.ndarray, strength: float) -> Linear:
    """Fit a logistic regression; classes count the same, whatever their number of clips.

    Args:
        x: (N, D), standardised here; the standardisation is folded into the weights.
        labels: int (N,), every class from 0 to C - 1 at least once.
        strength: inverse strength of the L2 penalty.
    """
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale == 0] = 1.0
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
    model.fit((x - mean) / scale, labels)
    kernel, bias = model.coef_.T, model.intercept_
    if kernel.shape[1] == 1:  # two classes: scikit-learn keeps the logit of the second alone
        kernel, bias = np.hstack([-kernel / 2, kernel / 2]), np.array([-bias[0] / 2, bias[0] / 2])
    kernel = kernel / scale[:, None]
    return Linear(kernel.astype(np.float32), (bias - mean @ kernel).astype(np.float32))


def choose(
    parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]], n_classes: int
) -> float:
    """Return the strength with the lowest mean cross-entropy on validation groups.

    Args:
        parts: training summaries and labels, validation summaries and labels, of one fold or more.
        n_classes: C.
    """
    losses = []
    for strength in STRENGTHS:
        each = []
        for x, labels, other_x, other_labels in parts:
            probabilities = fit(x, labels, strength).probabilities(other_x)
            each.append(log_loss(other_labels, probabilities, labels=range(n_classes)))
        losses.append(np.mean(each))
    return STRENGTHS[int(np.argmin(losses))]
