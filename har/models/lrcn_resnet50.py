"""LRCN on ResNet-50: an LSTM over the features of a CNN pretrained on ImageNet.

Idea: `har.models.lrcn` with transfer learning; see `har.models.parts.pretrained_lrcn` for `tune`.
Shapes at 20 × 224 × 224: features 2 views × 19 × 12288 → 19 × 128 → LSTM 64, and 2 × 12,288.
Parameters: 1,794,820 with 4 classes, frozen, and 23,587,712 of the backbone. Cost: 62 M
multiply-adds a clip, and twice the backbone's 3.9 G a frame and view. Reaches: not measured.
"""

from keras import Model

from har.backbones import resnet50
from har.models.parts.on_features import Shape
from har.models.parts.pretrained_lrcn import LRCNParams as Params
from har.models.parts.pretrained_lrcn import build_on
from har.params import TrainParams


def build(n_classes: int, shape: Shape, params: Params, train: TrainParams, seed: int) -> Model:
    """Build the network, as `har.models` says: on features, or with `tune` on clips."""
    return build_on(resnet50, n_classes, shape, params, train, seed)
