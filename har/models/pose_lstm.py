"""Pose and LSTM: an LSTM over the movement of 17 key points of a person.

Idea: an action is how a body moves, independent of clothes and place. Key points
(`har.backbones.movenet`) are normalised to the body (as in Du et al., Hierarchical Recurrent Neural
Network for Skeleton Based Action Recognition, CVPR 2015), with velocities and confidence.
Shapes at 20 frames: key points 2 views × 20 × 51 → 20 × 85 → LSTM 64. Parameters: 38,660 with 4
classes. Cost: 1.5 M multiply-adds a clip, and 0.2 s of MoveNet a view. Reaches: 0.87 on real clips.
"""

from keras import Model, layers, ops

from har.models.parts.on_features import Shape, classes_of, feature_input
from har.params import ApproachParams, PositiveInt, Rate, TrainParams


class Params(ApproachParams):
    """The `pose_lstm` section."""

    units: PositiveInt  # of the LSTM
    dropout: Rate


def build(n_classes: int, shape: Shape, params: Params, train: TrainParams, seed: int) -> Model:
    """Build the network, as `har.models` says."""
    features, x = feature_input(shape)
    x = layers.Dropout(params.dropout, seed=seed)(normalise(x))
    # cuDNN's LSTM under JAX predicts wrongly with Keras 3.15, so it is never used.
    x = layers.LSTM(params.units, return_sequences=True, use_cudnn=False)(x)
    x = layers.GlobalAveragePooling1D()(x)
    x = layers.Dropout(params.dropout, seed=seed + 1)(x)
    return Model(features, classes_of(x, n_classes, shape[0]), name="pose_lstm")


def normalise(points):
    """Return key points relative to the body: (N, T, 51) y, x, score of 17 joints to (N, T, 85).

    The result is y and x in body sizes from the body's middle, their change since the frame before
    (0 in the first), and the scores. Shifting or scaling all positions changes nothing.
    """
    T = points.shape[1]
    points = ops.reshape(points, (-1, T, 17, 3))
    places, scores = points[..., :2], points[..., 2:]
    weight = scores + 1e-6
    total = ops.sum(weight, (1, 2), keepdims=True)
    in_frame = ops.sum(places * weight, 2, keepdims=True) / ops.sum(weight, 2, keepdims=True)
    # Middle and size are those of the whole clip, so that jumps and falls stay.
    middle = ops.sum(places * weight, (1, 2), keepdims=True) / total
    spread = ops.sum(ops.square(places - in_frame) * weight, (1, 2, 3), keepdims=True)
    size = ops.sqrt(spread / total) + 1e-6
    places = (places - middle) / size
    change = ops.pad(places[:, 1:] - places[:, :-1], ((0, 0), (1, 0), (0, 0), (0, 0)))
    described = ops.concatenate([places, change, scores], axis=-1)
    return ops.reshape(described, (-1, T, 85))
