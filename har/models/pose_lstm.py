"""Pose and LSTM: an LSTM over the movement of 17 key points of a person.

Idea: an action is how a body moves, independent of clothes and place. `stages/features.py` finds
the key points once (`har.backbones.movenet`). They are normalised to the body, with velocities and
the detector's confidence (as in Du et al., Hierarchical Recurrent Neural Network for Skeleton Based
Action Recognition, CVPR 2015, who normalise to the hips).

Shapes at 20 frames: key points 2 views × 20 × 51 → 20 × 85 → LSTM 64. Parameters: 38,660 with 4
classes. Cost: 1.5 M multiply-adds a clip, and MoveNet on 20 frames a view, 0.2 s. Reaches: 0.87 on
real clips (docs/results.md).
"""

from keras import Model, layers, ops

from har.models.parts.on_features import Shape, classes_of, feature_input
from har.params import ApproachParams, PositiveInt, Rate, TrainParams


class Params(ApproachParams):
    """The `pose_lstm` section."""

    units: PositiveInt  # of the LSTM
    dropout: Rate


def build(n_classes: int, shape: Shape, params: Params, train: TrainParams, seed: int) -> Model:
    """Build the network; arguments and model as in `har.models.i3d.build`, D = 51."""
    features, x = feature_input(shape)
    x = normalise(x)
    x = layers.Dropout(params.dropout, seed=seed)(x)
    # cuDNN's LSTM under JAX predicts wrongly with Keras 3.15, so it is never used.
    x = layers.LSTM(params.units, return_sequences=True, use_cudnn=False)(x)
    x = layers.GlobalAveragePooling1D()(x)
    x = layers.Dropout(params.dropout, seed=seed + 1)(x)
    outputs = classes_of(x, n_classes, shape[0])
    return Model(features, outputs, name="pose_lstm")


def normalise(points):
    """Describe key points relative to the body that they are of.

    The middle and the size of the body are taken over the whole clip, so that jumps and falls
    stay: the middle is the key points' mean, weighted by confidence; the size the root mean square
    of their distances from the middle of their own frame.

    Args:
        points: (N, T, 51) float: y, x and confidence of 17 joints.

    Returns:
        (N, T, 85): y and x of the joints in body sizes from the middle, their change since the
        frame before (0 in the first), and the confidences. Shifting or scaling all places
        changes nothing.
    """
    T = points.shape[1]
    points = ops.reshape(points, (-1, T, 17, 3))
    places, trust = points[..., :2], points[..., 2:]
    weight = trust + 1e-6
    in_frame = ops.sum(places * weight, 2, keepdims=True) / ops.sum(weight, 2, keepdims=True)
    middle = ops.sum(places * weight, (1, 2), keepdims=True) / ops.sum(
        weight, (1, 2), keepdims=True
    )
    spread = ops.sum(ops.square(places - in_frame) * weight, (1, 2, 3), keepdims=True)
    size = ops.sqrt(spread / ops.sum(weight, (1, 2), keepdims=True)) + 1e-6
    places = (places - middle) / size
    change = ops.pad(places[:, 1:] - places[:, :-1], ((0, 0), (1, 0), (0, 0), (0, 0)))
    described = ops.concatenate([places, change, trust], axis=-1)
    return ops.reshape(described, (-1, T, 85))
