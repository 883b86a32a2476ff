"""Calibrated probabilities by temperature scaling."""

import keras
import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from har.training.batches import Batches


def temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature, from 0.25 to 16, of the lowest cross-entropy on validation clips.

    Logits are divided by it, before views are averaged. Above 1 the network was overconfident (Guo
    et al., On Calibration of Modern Neural Networks, ICML 2017). Probabilities are (N, V, C), of V
    views; labels int (N,). Where every clip is right the cross-entropy falls without end: hence the
    lower limit.
    """
    logits = np.log(np.maximum(probabilities.astype(np.float64), 1e-12))

    def loss(log_temperature: float) -> float:
        averaged = softmax(logits / np.exp(log_temperature), axis=-1).mean(axis=1)
        return -np.log(np.maximum(averaged[np.arange(len(labels)), labels], 1e-12)).mean()

    # With several views there can be several minima, so a grid comes first. 1 is on it.
    grid = np.linspace(np.log(0.25), np.log(16.0), 25)
    best = int(np.argmin([loss(place) for place in grid]))
    around = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = minimize_scalar(loss, bounds=around, method="bounded").x
    return float(np.exp(min(found, grid[best], key=loss)))


def calibrate(model: keras.Model, clips: np.ndarray, labels: np.ndarray, batch: int) -> float:
    """Divide the logits of `model` by the temperature that fits validation clips; return it.

    The weights of its dense softmax layer `classes` are divided, so a loaded or an exported network
    is calibrated too.
    """
    layer = model.get_layer("classes")
    views = keras.Model(model.input, layer.output)
    said = views.predict(Batches(clips, labels, batch).for_keras(), verbose=0)
    result = temperature(said.reshape(len(labels), -1, said.shape[-1]), labels)
    layer.set_weights([weights / np.float32(result) for weights in layer.get_weights()])
    return result
