"""One model of a backbone and of what learned from its features: clips in, probabilities out."""

from har.backend import keras

ops = keras.ops


def whole_model(network: keras.Model, head: keras.Model) -> keras.Model:
    """Join a backbone and a head.

    Args:
        network: from (N, T, H, W, 3) uint8 RGB to features (N, T', D).
        head: from features (N, V, T', D) to (N, n_classes) probabilities. With two views, the
            second is the mirrored clip.

    Returns:
        A model from (N, T, H, W, 3) uint8 RGB to (N, n_classes) float32 probabilities.
    """
    clips = keras.Input(network.input_shape[1:], dtype="uint8", name="clips")
    views = [clips, ops.flip(clips, axis=3)][: head.input_shape[1]]
    features = ops.stack([network(view) for view in views], axis=1)
    return keras.Model(clips, head(features), name=head.name)
