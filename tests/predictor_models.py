"""Small untrained networks of both kinds, in folders as the pipeline leaves them."""

import json
from pathlib import Path

import keras
import numpy as np

from har.nn import familiarity, model_files, preprocessing
from har.nn import layers as har_layers

CLASSES = ["Jump", "Run", "Swim"]
SHAPE = (6, 16, 24)
layers = keras.layers


@keras.saving.register_keras_serializable("har-tests")
class Change(layers.Layer):
    """What changed between frames `over` places apart."""

    def __init__(self, over=1, **kwargs):
        super().__init__(**kwargs)
        self.over = over

    def call(self, clips):
        return clips[:, self.over :] - clips[:, : -self.over]

    def get_config(self):
        return {**super().get_config(), "over": self.over}


def frame_by_frame(motion: int = 0, views: bool = False, frames: int = SHAPE[0]) -> keras.Model:
    """A frame CNN, then an LSTM.

    With `motion` the CNN sees changes over so many frames, with `views` every other frame is
    seen by itself and what is said of both views is averaged.
    """
    clips, x = _rescaled(views, frames)
    if motion:
        x = Change(motion)(x)
    T = x.shape[1]
    x = har_layers.FoldTime()(x)
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D(4)(x)
    x = layers.Dropout(0.25)(x)
    x = layers.Flatten()(x)
    x = har_layers.UnfoldTime(T)(x)
    x = layers.Bidirectional(layers.LSTM(8, use_cudnn=False, return_sequences=True))(x)
    return _with_classes(clips, layers.GlobalAveragePooling1D()(x), views)


def whole_clips() -> keras.Model:
    """ConvLSTM: no part of it sees frames one at a time."""
    clips, x = _rescaled()
    x = har_layers.ConvLSTM2D(3, 3, return_sequences=False)(x)
    return _with_classes(clips, layers.Flatten()(x))


def _rescaled(views: bool = False, frames: int = SHAPE[0]):
    keras.utils.set_random_seed(3)
    clips = keras.Input((frames, *SHAPE[1:], 3), dtype="uint8")
    x = layers.Rescaling(2 / 255, offset=-1)(
        preprocessing.DrawFrames(frames // 2)(clips) if views else clips
    )
    return clips, preprocessing.AugmentClip(zoom=0.1)(x)


def _with_classes(clips, x, views: bool = False) -> keras.Model:
    # Large weights, so that clips get different answers without training.
    large = keras.initializers.RandomNormal(stddev=8.0, seed=5)
    dense = layers.Dense(
        len(CLASSES), activation="softmax", kernel_initializer=large, name="classes"
    )
    x = dense(x)
    return keras.Model(clips, preprocessing.AverageViews(2, name="views")(x) if views else x)


def save(model: keras.Model, folder: Path, **card: object) -> Path:
    """Save as a stage does; `card` overrides what the card says.

    With `unknown_below` the model knows clips of noise, 4 a class.
    """
    model_files.save_model(model, folder / "model.keras")
    if "unknown_below" in card:
        noise = np.random.default_rng(0).integers(0, 256, (12, *model.input_shape[1:]), np.uint8)
        _, x = familiarity.seeing(model).predict(noise, verbose=0)
        known = familiarity.fit(x, np.arange(12) % len(CLASSES))
        familiarity.save(folder / familiarity.FILE, known)
    frames = dict(zip(("count", "height", "width"), SHAPE, strict=True))
    facts = {"approach": folder.name, "classes": CLASSES, "frames": frames, "seconds": 2.0}
    (folder / "card.json").write_text(json.dumps(facts | card))
    return folder


def moving(n: int, seed: int, height: int = 48, width: int = 72) -> np.ndarray:
    """Frames of a drifting pattern, uint8 (n, height, width, 3) RGB: no two clips look alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 9, 3)).astype(np.uint8)
    picture = np.kron(coarse, np.ones((height // 6, width // 9, 1), np.uint8))
    steps = rng.integers(-3, 4, 2)
    return np.stack([np.roll(picture, steps * i, axis=(0, 1)) for i in range(n)])
