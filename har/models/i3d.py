"""I3D: one dense layer on features of a 3D Inception network trained on Kinetics-400.

Idea: features learned from 240,000 clips of 400 actions need little more than a linear classifier
(Carreira & Zisserman, Quo Vadis, Action Recognition?, CVPR 2017). `stages/features.py` computes the
features of the frozen backbone (`har.backbones.i3d`) once; every fold reads them. Each feature is
averaged over a window; then the largest of the windows counts, since an action need not fill the
clip.

Shapes at 3 windows of 64 × 224 × 224: features 3 × 8 moments × 1024. Parameters: 6,148 with 4
classes, of a normalisation and the dense layer, and 12,279,984 of the backbone. Cost: 111 G
multiply-adds a window, all of the backbone: 1.5 s a clip on 2 cores. Reaches: 0.98 on real clips
(docs/results.md), four of whose five classes are classes of Kinetics.
"""

from keras import Model, layers

from har.models.parts.on_features import Shape, feature_input, last_layer
from har.nn.time_folding import UnfoldTime
from har.params import ApproachParams, Rate, TrainParams


class Params(ApproachParams):
    """The `i3d` section."""

    dropout: Rate


def build(n_classes: int, shape: Shape, params: Params, train: TrainParams, seed: int) -> Model:
    """Build the network.

    Args:
        n_classes: number of classes.
        shape: (V, T, D) of a clip's features.
        params: the `i3d` section.
        train: the `train` section, of which features need nothing.
        seed: of dropout; initial weights follow Keras's global seed.

    Returns:
        A model from features (N, V, T, D) to (N, n_classes) float32 probabilities.
    """
    features, x = feature_input(shape)
    x = layers.GlobalAveragePooling1D()(x)
    x = layers.GlobalMaxPooling1D()(UnfoldTime(shape[0])(x))
    x = layers.BatchNormalization(scale=False, center=False)(x)
    x = layers.Dropout(params.dropout, seed=seed)(x)
    return Model(features, last_layer(x, n_classes), name="i3d")
