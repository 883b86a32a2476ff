"""A backbone and a head trained on its features, joined into one model."""

from typing import Any

import keras
from keras import ops

from har.backbones import features
from har.errors import UserError
from har.params import BackboneParams


def join(
    head: keras.Model, facts: dict[str, Any], sections: dict[str, BackboneParams]
) -> tuple[keras.Model, dict[str, Any]]:
    """Join a head with the backbone of a feature store's `facts`.

    Returns:
        The model, and the card's entry for the backbone.

    Raises:
        UserError: the backbone's weights are missing, or others than those of the features.
    """
    name = facts["backbone"]
    backbone = features.open_backbone(name, sections[name])
    if backbone.identity != facts["identity"]:
        raise UserError(
            f"The features were computed with other weights than backbones.{name} names now. "
            "Run `dvc repro` to compute them again."
        )
    about = {"name": name, "sha256": facts["identity"], "weights": facts["weights"]}
    return joined_model(backbone.network, head, facts["windows"]), {"joined": about}


def joined_model(network: keras.Model, head: keras.Model, windows: int) -> keras.Model:
    """Join a backbone, (N, T, H, W, 3) to (N, T', D), and a head of its windows to one model.

    The head takes (N, windows, T', D). The model maps (N, windows·T, H, W, 3) uint8 RGB to
    (N, n_classes) float32 probabilities.
    """
    # Without its optimizer, whose class a loader of the joined model would have to know.
    plain = type(head).from_config(head.get_config())
    plain.set_weights(head.get_weights())
    T, *rest = network.input_shape[1:]
    clips = keras.Input((windows * T, *rest), dtype="uint8", name="clips")
    views = [network(clips[:, i * T : (i + 1) * T]) for i in range(windows)]
    found = ops.stack(views, axis=1)
    found = keras.layers.Identity(name="features")(found)
    return keras.Model(clips, plain(found), name=head.name)
