import json

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from har import layers
from har.layers import AugmentClip, ConvLSTM2D, FoldTime, UnfoldTime


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)


@st.composite
def networks(draw):
    """Shapes and arguments for which the layer is defined."""
    arguments = {
        "filters": draw(st.integers(1, 3)),
        "kernel_size": draw(st.sampled_from([1, 2, 3, (2, 3), (3, 1)])),
        "padding": draw(st.sampled_from(["valid", "same"])),
        "return_sequences": draw(st.booleans()),
        "use_bias": draw(st.booleans()),
        "activation": draw(st.sampled_from(["tanh", "relu"])),
        "recurrent_activation": draw(st.sampled_from(["sigmoid", "hard_sigmoid"])),
    }
    if draw(st.booleans()):
        arguments["strides"] = draw(st.sampled_from([2, (1, 2)]))
    elif draw(st.booleans()):
        arguments["dilation_rate"] = 2
    shape = tuple(draw(st.integers(low, high)) for low, high in [(1, 4), (5, 8), (5, 8), (1, 3)])
    return shape, arguments


def around(layer, shape) -> keras.Model:
    """Put a dense layer before `layer`: its gradient is that of the layer's input."""
    clips = keras.Input(shape)
    model = keras.Model(clips, layer(keras.layers.Dense(shape[-1])(clips)))
    # A loss that is linear in the output, and steps as long as the gradient.
    model.compile(
        keras.optimizers.SGD(1.0),
        lambda weights, outputs: ops.mean(weights * outputs),
        run_eagerly=True,
    )
    return model


def randomise(model: keras.Model) -> list[np.ndarray]:
    weights = [noise(*w.shape, seed=i) - 0.5 for i, w in enumerate(model.weights)]
    model.set_weights(weights)
    return weights


@settings(deadline=None, max_examples=12)
@given(network=networks())
def test_outputs_and_gradients_are_those_of_keras(network):
    shape, arguments = network
    ours = around(ConvLSTM2D(**arguments), shape)
    theirs = around(keras.layers.ConvLSTM2D(**arguments), shape)
    assert [w.path.split("/")[-1] for w in ours.weights] == [
        w.path.split("/")[-1] for w in theirs.weights
    ]
    start = randomise(ours)
    theirs.set_weights(start)
    clips = noise(2, *shape, seed=9)
    expected = theirs.predict_on_batch(clips)
    found = ours.predict_on_batch(clips)
    assert found.shape == expected.shape == (2, *ours.output_shape[1:])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)

    target = noise(*expected.shape, seed=10)
    for model in (ours, theirs):
        model.train_on_batch(clips, target)
    for before, a, b in zip(start, ours.get_weights(), theirs.get_weights(), strict=True):
        scale = np.maximum(1, np.abs(before - b))
        assert np.abs((a - b) / scale).max() <= 1e-5


def test_it_takes_an_initial_state_and_returns_the_last_one_as_keras_does():
    arguments = {"filters": 2, "kernel_size": 3, "return_state": True, "return_sequences": True}
    ours, theirs = ConvLSTM2D(**arguments), keras.layers.ConvLSTM2D(**arguments)
    clips = noise(2, 3, 6, 7, 1)
    state = [noise(2, 4, 5, 2, seed=1), noise(2, 4, 5, 2, seed=2)]
    theirs(clips)
    ours(clips)
    ours.set_weights(theirs.get_weights())
    for a, b in zip(
        ours(clips, initial_state=state), theirs(clips, initial_state=state), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_recurrent_dropout_acts_in_training_only():
    clips = noise(2, 3, 6, 6, 1)
    layer = ConvLSTM2D(4, 3, recurrent_dropout=0.5, seed=1)
    without = ConvLSTM2D(4, 3)
    outside = np.asarray(layer(clips))
    without(clips)
    without.set_weights(layer.get_weights())
    np.testing.assert_array_equal(layer(clips, training=False), outside)
    np.testing.assert_array_equal(without(clips, training=True), outside)
    once, again = np.asarray(layer(clips, training=True)), np.asarray(layer(clips, training=True))
    assert np.abs(once - outside).max() > 1e-3
    assert np.abs(once - again).max() > 1e-3
    # The first step has no state that could be dropped.
    np.testing.assert_array_equal(layer(clips[:, :1], training=True), layer(clips[:, :1]))


def test_a_mask_is_refused():
    with pytest.raises(ValueError, match=r"without a mask.*Received: a mask"):
        ConvLSTM2D(1, 3)(noise(2, 3, 6, 6, 1), mask=np.ones((2, 3), bool))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dropout", 0.1),
        ("go_backwards", True),
        ("unroll", True),
        ("data_format", "channels_first"),
    ],
)
def test_arguments_it_does_not_know_are_refused(name, value):
    with pytest.raises(ValueError, match=f"Received: other values of {name}.*Use keras.layers"):
        ConvLSTM2D(1, 3, **{name: value})


def test_several_refused_arguments_are_all_named():
    with pytest.raises(ValueError, match="dropout, go_backwards"):
        ConvLSTM2D(1, 3, dropout=0.1, go_backwards=True)


@pytest.mark.parametrize(
    "layer",
    [
        ConvLSTM2D(3, (2, 3), recurrent_dropout=0.2, return_sequences=True, strides=2, seed=3),
        FoldTime(name="fold"),
        UnfoldTime(7),
        AugmentClip(flip=False, zoom=0.1, shift=0.2, brightness=0.3, contrast=0.4, seed=5),
        AugmentClip(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_are_the_same_after_a_round_trip(layer):
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    assert config["registered_name"] == f"har>{type(layer).__name__}"
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()


def test_layers_do_not_load_before_keras_and_load_with_it(run_python):
    code = """
import sys
import har
assert "keras" not in sys.modules and "har.layers" not in sys.modules
import keras
assert keras.saving.get_registered_object("har>ConvLSTM2D").__module__ == "har.layers"
"""
    process = run_python(code)
    assert process.returncode == 0, process.stderr


@settings(deadline=None, max_examples=20)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
    more=st.lists(st.integers(1, 2), max_size=1),
)
def test_unfolding_undoes_folding(shape, more):
    clips = noise(*shape, *more)
    folded = FoldTime()(clips)
    assert folded.shape == (shape[0] * shape[1], *shape[2:], *more)
    for n in range(shape[0]):
        for t in range(shape[1]):
            np.testing.assert_array_equal(folded[n * shape[1] + t], clips[n, t])
    np.testing.assert_array_equal(UnfoldTime(shape[1])(folded), clips)


def test_shapes_of_folding_are_known_before_any_clip_comes():
    clips = keras.Input((5, 8, 6, 3))
    folded = FoldTime()(clips)
    assert folded.shape == (None, 8, 6, 3)
    assert UnfoldTime(5)(folded).shape == (None, 5, 8, 6, 3)
    assert layers.fold(noise(2, 5, 8)).shape == (10, 8)
    assert layers.unfold(noise(10, 8), 5).shape == (2, 5, 8)


STRONG = {"flip": True, "zoom": 0.5, "shift": 0.3, "brightness": 0.6, "contrast": 0.9}


def test_clips_are_augmented_in_training_only():
    clips = noise(4, 2, 8, 6, 3)
    layer = AugmentClip(**STRONG, seed=1)
    for outside in (layer(clips), layer(clips, training=False)):
        np.testing.assert_array_equal(outside, clips)
    assert np.abs(layer(clips, training=True) - clips).max() > 0.1


def test_without_any_strength_nothing_changes():
    clips = noise(4, 2, 8, 6, 3)
    np.testing.assert_array_equal(AugmentClip(flip=False)(clips, training=True), clips)


@pytest.mark.parametrize("width", [6, 7, 64])
def test_flipping_mirrors_about_half_of_the_clips_and_changes_nothing_else(width):
    clips = noise(64, 2, 4, width, 3)
    flipped = np.asarray(AugmentClip(flip=True, seed=1)(clips, training=True))
    mirrored = 0
    for before, after in zip(clips, flipped, strict=True):
        if not np.array_equal(after, before):
            np.testing.assert_array_equal(after, before[:, :, ::-1])
            mirrored += 1
    assert 16 <= mirrored <= 48


def test_flipping_mirrors_or_keeps_every_clip_in_low_precision_too():
    clips = np.tile(np.array([0, 0.5, 1], np.float32)[:, None], (2000, 1, 2, 1, 1))
    after = np.asarray(AugmentClip(seed=1, dtype="bfloat16")(clips, training=True), np.float32)
    across = after[:, 0, 0, :, 0]
    assert {tuple(row) for row in across.tolist()} == {(0.0, 0.5, 1.0), (1.0, 0.5, 0.0)}


def test_all_frames_of_a_clip_change_in_the_same_way_and_each_clip_in_its_own():
    image = noise(1, 1, 8, 6, 3)
    after = np.asarray(
        AugmentClip(**STRONG, seed=1)(np.tile(image, (6, 4, 1, 1, 1)), training=True)
    )
    for clip in after:
        for frame in clip[1:]:
            np.testing.assert_array_equal(frame, clip[0])
    for i in range(6):
        for j in range(i):
            assert np.abs(after[i] - after[j]).max() > 1e-3


@settings(deadline=None, max_examples=15)
@given(
    strengths=st.fixed_dictionaries(
        {name: st.floats(0, 0.95) for name in ("zoom", "shift", "brightness", "contrast")}
    ),
    flip=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_augmented_pixels_stay_in_range(strengths, flip, seed):
    clips = noise(3, 2, 7, 5, 3, seed=seed)
    clips[0] = 0
    clips[1] = 1
    after = np.asarray(AugmentClip(flip=flip, **strengths, seed=seed)(clips, training=True))
    assert after.shape == clips.shape
    assert after.dtype == clips.dtype
    assert np.isfinite(after).all()
    assert after.min() >= -1e-6
    assert after.max() <= 1 + 1e-6


@pytest.mark.parametrize("axis", [2, 3], ids=["height", "width"])
@pytest.mark.parametrize(("zoom", "shift"), [(0.3, 0.0), (0.0, 0.2), (0.2, 0.1)])
def test_zoom_and_shift_are_linear_about_the_centre_and_within_their_reach(axis, zoom, shift):
    n, length = 40, 21
    shape = [n, 1, 21, 21, 1]
    place = np.arange(length) - (length - 1) / 2
    ramp = (place / length + 0.5).astype(np.float32)
    clips = np.broadcast_to(ramp.reshape([length if i == axis else 1 for i in range(5)]), shape)
    layer = AugmentClip(flip=False, zoom=zoom, shift=shift, seed=3)
    after = np.asarray(layer(np.ascontiguousarray(clips), training=True))
    rows = np.moveaxis(after, axis, -1).reshape(n, -1, length)
    np.testing.assert_allclose(rows, rows[:, :1] + np.zeros_like(rows), atol=1e-5)
    slopes, moves = [], []
    for row in rows[:, 0]:
        # Where the edge is repeated the ramp is flat: fit the part in the middle.
        slope, offset = np.polyfit(place[7:14], row[7:14], 1)
        np.testing.assert_allclose(row[7:14], slope * place[7:14] + offset, atol=1e-5)
        slopes.append(1 / (slope * length))
        moves.append(offset - 0.5)
    assert 1 - zoom - 1e-3 <= min(slopes)
    assert max(slopes) <= 1 + zoom + 1e-3
    assert np.abs(moves).max() <= shift + 1e-3
    assert np.ptp(slopes) >= zoom
    assert np.ptp(moves) >= shift


def test_brightness_adds_and_contrast_stretches_about_the_mean():
    clips = 0.4 + 0.2 * noise(40, 2, 6, 5, 3)
    added = AugmentClip(flip=False, brightness=0.2, seed=1)(clips, training=True) - clips
    added = np.asarray(added).reshape(40, -1)
    np.testing.assert_allclose(added, added[:, :1] + np.zeros_like(added), atol=1e-6)
    assert np.abs(added).max() <= 0.2
    assert np.ptp(added) >= 0.2

    stretched = np.asarray(AugmentClip(flip=False, contrast=0.5, seed=1)(clips, training=True))
    axes = (1, 2, 3, 4)
    np.testing.assert_allclose(stretched.mean(axes), clips.mean(axes), atol=1e-5)
    factors = stretched.std(axes) / clips.std(axes)
    assert 0.5 <= factors.min() < 0.75
    assert 1.25 < factors.max() <= 1.5 + 1e-5


def test_the_seed_decides():
    clips = noise(4, 2, 8, 6, 3)
    one, same, other = (AugmentClip(**STRONG, seed=s)(clips, training=True) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.01
