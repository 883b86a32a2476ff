import json

import keras
import pytest

from har.nn.layers import (
    BatchNormalization,
    ConvLSTM2D,
    FoldTime,
    ShiftFeatures,
    UnfoldTime,
)


@pytest.mark.parametrize(
    "layer",
    [
        ConvLSTM2D(3, (2, 3), recurrent_dropout=0.2, return_sequences=True, strides=2, seed=3),
        FoldTime(name="fold"),
        UnfoldTime(7),
        ShiftFeatures(5),
        BatchNormalization(momentum=0.9, epsilon=0.01),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_are_the_same_after_a_round_trip(layer):
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    assert config["registered_name"] == f"har>{type(layer).__name__}"
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()
