"""LRCN on ResNet-50: an LSTM over what a CNN that knows ImageNet sees in each frame.

Idea: see `har.models.lrcn`, with transfer learning in place of a CNN from scratch (Donahue et al.,
Long-term Recurrent Convolutional Networks, CVPR 2015, whose CNN was pretrained on ImageNet too).
Of each frame the frozen CNN sees the frame and what has changed since the one before (see
`har.backbones.imagenet`). The LSTM's states, averaged over time, go to the classes, with the spread
of each feature and how much it changes from frame to frame.

Frozen (`tune: 0`, and a line in `features`): `stages/features.py` makes the features once and
every fold reads them. Tuned (`tune: 20`, say, and no such line): clips of data/frames.h5 go
through the CNN, frames alone, whose last layers learn too; set `frames.height` and `.width` to 224
or so.

Shapes at 20 × 224 × 224: features 2 views × 19 × 12288 → 19 × 128 → LSTM 64, and 2 × 12,288.
Parameters: 1,794,820 with 4 classes, frozen, and 23,587,712 of the backbone. Cost: 62 M
multiply-adds a clip, and twice the backbone's 3.9 G a frame and view.
"""

from har.backbones import resnet50
from har.models.parts.pretrained_lrcn import LRCNParams, build_on
from har.nn.backend import keras
from har.params import TrainParams


class Params(LRCNParams):
    """The `lrcn_resnet50` section."""


def build(
    n_classes: int, shape: tuple[int, int, int], params: Params, train: TrainParams, seed: int
) -> keras.Model:
    """Build the network; arguments and model as in `pretrained_lrcn.build_on`."""
    return build_on(resnet50, "lrcn_resnet50", n_classes, shape, params, train, seed)
