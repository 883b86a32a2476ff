"""What the tests of single layers share."""

import keras
import numpy as np
from keras import ops


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)


def around(layer, shape) -> keras.Model:
    """Put a dense layer before `layer`: its gradient is that of the layer's input."""
    clips = keras.Input(shape)
    model = keras.Model(clips, layer(keras.layers.Dense(shape[-1])(clips)))
    # A loss that is linear in the output, and steps as long as the gradient.
    model.compile(
        keras.optimizers.SGD(1.0),
        lambda weights, outputs: ops.mean(weights * outputs),
        run_eagerly=True,
    )
    return model


def randomise(model: keras.Model) -> list[np.ndarray]:
    weights = [noise(*w.shape, seed=i) - 0.5 for i, w in enumerate(model.weights)]
    model.set_weights(weights)
    return weights
