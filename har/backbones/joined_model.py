"""A backbone and a head trained on its features, joined into one model."""

import keras
from keras import ops


def joined_model(network: keras.Model, head: keras.Model, windows: int) -> keras.Model:
    """Join a backbone and a head: clips in, probabilities out.

    Args:
        network: from (N, T, H, W, 3) uint8 RGB to features (N, T', D).
        head: from features (N, V, T', D) to (N, n_classes) probabilities. The views are the
            windows of the clip or, where V = 2·windows, these and then these mirrored.
        windows: windows a clip, `backbones.<name>.windows`.

    Returns:
        A model from (N, windows·T, H, W, 3) uint8 RGB, as
        `har.backbones.features.Backbone.read` reads it, to (N, n_classes) float32 probabilities.

    Raises:
        ValueError: the head has another number of views.
    """
    n_views = head.input_shape[1]
    if n_views not in (windows, 2 * windows):
        raise ValueError(
            f"joined_model expects a head of {windows} or {2 * windows} views. Received: {n_views}"
        )
    T, *rest = network.input_shape[1:]
    clips = keras.Input((windows * T, *rest), dtype="uint8", name="clips")
    views = [clips[:, i * T : (i + 1) * T] for i in range(windows)]
    if n_views > windows:
        views += [ops.flip(view, axis=3) for view in views]
    features = ops.stack([network(view) for view in views], axis=1)
    return keras.Model(clips, head(features), name=head.name)
