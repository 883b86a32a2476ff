"""One model of a backbone and of what learned from its features: clips in, probabilities out."""

import keras
from keras import ops


def whole_model(network: keras.Model, head: keras.Model, windows: int) -> keras.Model:
    """Join a backbone and a head.

    Args:
        network: from (N, T, H, W, 3) uint8 RGB to features (N, T', D).
        head: from features (N, V, T', D) to (N, n_classes) probabilities. The views are the
            windows of the clip or, where there are twice as many, these and then these mirrored.
        windows: of a clip, `backbones.<name>.windows`.

    Returns:
        A model from (N, windows·T, H, W, 3) uint8 RGB, as `har.backbones.features.Backbone.read` reads it,
        to (N, n_classes) float32 probabilities.

    Raises:
        ValueError: the head takes another number of views.
    """
    n_views = head.input_shape[1]
    if n_views not in (windows, 2 * windows):
        raise ValueError(
            f"whole_model expects a head of {windows} or {2 * windows} views. Received: {n_views}"
        )
    T, *rest = network.input_shape[1:]
    clips = keras.Input((windows * T, *rest), dtype="uint8", name="clips")
    views = [clips[:, i * T : (i + 1) * T] for i in range(windows)]
    if n_views > windows:
        views += [ops.flip(view, axis=3) for view in views]
    features = ops.stack([network(view) for view in views], axis=1)
    return keras.Model(clips, head(features), name=head.name)
