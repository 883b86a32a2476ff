"""How familiar a clip is, so that one of no known class is `unknown`.

x (N, D) is what the layer `classes` takes. A clip is familiar where the nearest class's mean is
near, in deviations within classes, compared with the mean of all clips: the relative Mahalanobis
distance (Ren et al., A Simple Fix to Mahalanobis Distance, 2021) with diagonal covariances. On
validation groups it told more than logits, energy and cosines (docs/results.md).
"""

from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from har.nn.model_files import read_arrays

FILE = "familiarity.npz"  # in a model's folder
PASS = 0.95  # of known clips; what scores lower than the rest is unknown


class Familiarity(NamedTuple):
    """Of each class: number of clips (C,), and means and variances of x, both (C, D)."""

    counts: np.ndarray
    means: np.ndarray
    variances: np.ndarray

    def without(self, label: int) -> "Familiarity":
        """Return it as if a class had never been seen."""
        return Familiarity(*(np.delete(array, label, axis=0) for array in self))

    def scales(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the deviations within classes, the mean of all clips and its deviations, (D,)."""
        share = (self.counts / self.counts.sum())[:, None]
        mean = (share * self.means).sum(axis=0)
        within = (share * self.variances).sum(axis=0)
        total = within + (share * (self.means - mean) ** 2).sum(axis=0)
        total = np.where(total > 1e-12, total, np.inf)  # what never changes tells nothing
        return np.sqrt(np.maximum(within, 0.01 * total)), mean, np.sqrt(total)

    def score(self, x):
        """Return how familiar x (N, D), an array or a tensor, is: (N,), higher is more."""
        within, mean, total = self.scales()
        # |a - b|² = |a|² - 2ab + |b|², around the mean of all: no array of (N, C, D), which is
        # gigabytes for hundreds of classes.
        b = ((self.means - mean) / within).astype(np.float32)
        within, mean, total = (array.astype(np.float32) for array in (within, mean, total))
        a = (x - mean) / within
        near = ops.min(ops.matmul(a, -2 * b.T) + np.square(b).sum(axis=1), axis=1)
        near = (ops.sum(ops.square(a), axis=1) + near) / x.shape[1]
        return ops.mean(ops.square((x - mean) / total), axis=1) - near


def fit(x: np.ndarray, labels: np.ndarray) -> Familiarity:
    """Fit to x (N, D) of training clips with labels int (N,), each class at least once."""
    parts = [x[labels == label].astype(np.float64) for label in range(labels.max() + 1)]
    counts = np.array([len(part) for part in parts])
    means, variances = (np.stack([f(part, axis=0) for part in parts]) for f in (np.mean, np.var))
    return Familiarity(counts, means, variances)


def threshold(scores: np.ndarray) -> float:
    """Return the score that `PASS` of known clips, which nothing was fitted to, reach."""
    return float(np.quantile(scores, 1 - PASS))


def seeing(model: keras.Model) -> keras.Model:
    """Return a network from the inputs of `model` to its probabilities and x, (N, D)."""
    head = model.layers[-1]
    if isinstance(head, keras.Model):  # joined with its backbone
        features = model.get_layer("features").output
        x = keras.Model(head.input, head.get_layer("classes").input, name="before")(features)
    else:
        head, x = model, model.get_layer("classes").input
    views = next((layer.views for layer in head.layers if layer.name == "views"), 1)
    # In a model of its own: the names of new operations may be those of a loaded model's.
    both = keras.Model(model.input, [model.output, x], name="both")
    clips = keras.Input(model.input.shape[1:], dtype=model.input.dtype)
    probabilities, x = both(clips)
    x = ops.mean(ops.reshape(x, (-1, views, x.shape[-1])), axis=1)
    return keras.Model(clips, [probabilities, x])


def attach(model: keras.Model, familiarity: Familiarity, threshold: float) -> keras.Model:
    """Return a network to (N, C + 1): probabilities, then the score less the threshold."""
    network = seeing(model)
    probabilities, x = network.output
    margin = familiarity.score(x) - threshold
    return keras.Model(network.input, ops.concatenate([probabilities, margin[:, None]], axis=1))


def save(path: Path, familiarity: Familiarity) -> None:
    """Write it as an .npz file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{k: v.astype(np.float32) for k, v in familiarity._asdict().items()})


def load(path: Path) -> Familiarity:
    """Read it; raise an `OSError`, `ValueError` or `KeyError` where the file is another."""
    arrays = read_arrays(path)
    return Familiarity(*(arrays[name].astype(np.float64) for name in Familiarity._fields))
