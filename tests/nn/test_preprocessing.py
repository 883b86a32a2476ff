import inspect
import itertools
import json

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from har.nn.preprocessing import WAYS_TO_DRAW, AugmentClip, AverageViews, DrawFrames, Motion


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)


def numbered(n: int, stored: int) -> np.ndarray:
    """Clips whose frames tell clip and place: 1000 n + t, as (N, T, 1, 1, 1)."""
    return (1000 * np.arange(n)[:, None] + np.arange(stored)).reshape(n, stored, 1, 1, 1)


def drawn(layer: DrawFrames, n: int, stored: int, training: bool) -> np.ndarray:
    """Return which frames the layer draws of numbered clips, (N, count)."""
    found = np.asarray(layer(numbered(n, stored), training=training))
    assert found.shape[2:] == (1, 1, 1)
    return found[..., 0, 0, 0]


EVERY_LAYER = [
    DrawFrames(4),
    DrawFrames(count=2, how="middle", seed=3, name="draw"),
    AverageViews(3),
    Motion(),
    AugmentClip(),
    AugmentClip(
        flip=False,
        zoom=0.1,
        shift=0.2,
        brightness=0.3,
        contrast=0.4,
        saturation=0.5,
        tint=0.6,
        shuffle=0.7,
        grey=0.8,
        seed=5,
    ),
]


@pytest.mark.parametrize("layer", EVERY_LAYER, ids=lambda layer: type(layer).__name__)
def test_layers_are_the_same_after_a_round_trip(layer):
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    assert config["registered_name"] == f"har>{type(layer).__name__}"
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()
    own = vars(type(layer)).get("__init__", lambda self: None)
    for name in set(inspect.signature(own).parameters) - {"self", "kwargs"}:
        assert getattr(again, name) == getattr(layer, name) == layer.get_config()[name]


@settings(deadline=None, max_examples=15)
@given(n=st.integers(1, 5), count=st.integers(1, 5), V=st.integers(1, 4), seed=st.integers(0, 99))
def test_training_sees_one_frame_of_each_segment_of_each_clip(n, count, V, seed):
    found = drawn(DrawFrames(count, seed=seed), n, count * V, training=True)
    assert found.shape == (n, count)
    np.testing.assert_array_equal(found // 1000, np.arange(n)[:, None] + np.zeros_like(found))
    np.testing.assert_array_equal(found % 1000 // V, np.arange(count) + np.zeros_like(found))


def test_every_frame_of_a_segment_is_drawn_as_often_and_each_segment_by_itself():
    n, count, V = 900, 3, 3
    place = drawn(DrawFrames(count, seed=1), n, count * V, training=True) % 1000 % V
    for segment in range(count):
        shares = np.bincount(place[:, segment], minlength=V) / n
        np.testing.assert_allclose(shares, 1 / V, atol=0.07)  # 4 standard deviations
    seen = {tuple(row) for row in place.tolist()}
    assert seen == set(itertools.product(range(V), repeat=count))


def test_frames_are_drawn_anew_each_time_and_the_seed_decides():
    layers = [DrawFrames(4, seed=seed) for seed in (1, 1, 2)]
    one, same, other = ([drawn(layer, 8, 20, True) for _ in range(2)] for layer in layers)
    np.testing.assert_array_equal(one, same)
    assert (one[0] != one[1]).any()
    assert (one[0] != other[0]).any()


@settings(deadline=None, max_examples=15)
@given(n=st.integers(1, 4), count=st.integers(1, 5), V=st.integers(1, 4))
def test_outside_of_training_the_views_are_interleaved_and_hold_every_frame(n, count, V):
    clips = numbered(n, count * V)
    found = drawn(DrawFrames(count, seed=1), n, count * V, training=False)
    assert found.shape == (n * V, count)
    for i, v in itertools.product(range(n), range(V)):
        np.testing.assert_array_equal(found[i * V + v], clips[i, v::V, 0, 0, 0])
    assert sorted(found.ravel()) == clips.ravel().tolist()


@settings(deadline=None, max_examples=10)
@given(n=st.integers(1, 4), count=st.integers(1, 5), V=st.integers(1, 5))
def test_the_middle_frames_are_the_only_view(n, count, V):
    layer = DrawFrames(count, "middle")
    expected = 1000 * np.arange(n)[:, None] + V * np.arange(count) + V // 2
    for training in (True, False):
        np.testing.assert_array_equal(drawn(layer, n, count * V, training), expected)


@settings(deadline=None, max_examples=15)
@given(n=st.integers(1, 5), count=st.integers(1, 5), V=st.integers(1, 4), seed=st.integers(0, 99))
def test_a_window_is_neighbouring_frames_of_one_clip(n, count, V, seed):
    found = drawn(DrawFrames(count, "window", seed), n, count * V, training=True)
    first = found[:, :1]
    np.testing.assert_array_equal(found, first + np.arange(count))
    np.testing.assert_array_equal(first[:, 0] // 1000, np.arange(n))
    assert (found % 1000 < count * V).all()


def test_every_window_is_drawn_as_often():
    n, count, V = 1400, 3, 3
    first = drawn(DrawFrames(count, "window", seed=1), n, count * V, training=True)[:, 0] % 1000
    shares = np.bincount(first, minlength=7) / n
    np.testing.assert_allclose(shares, 1 / 7, atol=0.04)  # 4 standard deviations


@settings(deadline=None, max_examples=15)
@given(n=st.integers(1, 4), count=st.integers(1, 5), V=st.integers(1, 4))
def test_outside_of_training_windows_follow_one_another_and_hold_every_frame(n, count, V):
    clips = numbered(n, count * V)
    found = drawn(DrawFrames(count, "window"), n, count * V, training=False)
    np.testing.assert_array_equal(found, clips.reshape(n * V, count))


def test_other_ways_to_draw_are_refused():
    with pytest.raises(ValueError, match=r"segments, window, middle\. Received: jitter"):
        DrawFrames(4, "jitter")


@pytest.mark.parametrize("how", WAYS_TO_DRAW)
def test_drawn_frames_stay_the_bytes_they_are_and_their_shape_is_known(how):
    clips = np.random.default_rng(0).integers(0, 256, (2, 6, 4, 5, 3), np.uint8)
    layer = DrawFrames(3, how, seed=1, dtype="mixed_float16")
    for training in (True, False):
        found = np.asarray(layer(clips, training=training))
        assert found.dtype == np.uint8
        assert found.shape == (2 * (2 if how != "middle" and not training else 1), 3, 4, 5, 3)
        whole = {frame.tobytes() for clip in clips for frame in clip}
        assert {frame.tobytes() for clip in found for frame in clip} <= whole
    assert DrawFrames(3, how)(keras.Input((6, 4, 5, 3))).shape == (None, 3, 4, 5, 3)


@settings(deadline=None, max_examples=10)
@given(n=st.integers(1, 4), V=st.integers(1, 4), C=st.integers(1, 3))
def test_views_of_a_clip_are_averaged_outside_of_training(n, V, C):
    values = noise(n * V, C)
    layer = AverageViews(V)
    found = np.asarray(layer(values))
    assert found.shape == (n, C)
    for i in range(n):
        np.testing.assert_allclose(found[i], values[i * V : (i + 1) * V].mean(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(layer(values, training=True), values)


def test_averaging_undoes_what_drawing_does_to_the_batch():
    n, count, V = 3, 2, 4
    frames = keras.Input((count * V, 1))
    model = keras.Model(frames, AverageViews(V)(keras.layers.Flatten()(DrawFrames(count)(frames))))
    values = noise(n, count * V, 1)
    expected = values.reshape(n, count, V).mean(axis=2)
    for batch in (1, 2, 3):
        np.testing.assert_allclose(model.predict(values, batch, verbose=0), expected, rtol=1e-5)
    assert model.output_shape == (None, count)


def test_motion_is_the_difference_over_its_own_root_mean_square():
    clips = noise(2, 5, 4, 6, 3)
    found = np.asarray(Motion()(clips))
    assert found.shape == (2, 4, 4, 6, 3)
    for n, t in itertools.product(range(2), range(4)):
        change = clips[n, t + 1].astype(np.float64) - clips[n, t]
        expected = change / (np.sqrt((change**2).mean()) + 0.01)
        np.testing.assert_allclose(found[n, t], expected, atol=1e-4)
    assert Motion()(keras.Input((5, 4, 6, 3))).shape == (None, 4, 4, 6, 3)


def test_nothing_moves_in_a_still_and_hardly_in_its_noise():
    still = np.repeat(noise(1, 1, 6, 6, 3), 4, axis=1)
    np.testing.assert_array_equal(Motion()(still), np.zeros((1, 3, 6, 6, 3)))
    flicker = np.clip(still + np.random.default_rng(1).normal(0, 0.001, still.shape), 0, 1)
    assert np.asarray(Motion()(flicker.astype(np.float32))).std() < 0.15
    # What really moves has a root mean square of 1, short of the floor.
    assert np.asarray(Motion()(noise(1, 4, 6, 6, 3))).std() == pytest.approx(1, abs=0.05)


@settings(deadline=None, max_examples=10)
@given(offset=st.floats(-0.2, 0.2), factor=st.floats(0.3, 2.0), seed=st.integers(0, 99))
def test_how_strong_the_light_is_does_not_matter_to_motion(offset, factor, seed):
    clips = 0.3 + 0.3 * noise(2, 3, 6, 6, 3, seed=seed)
    found = np.asarray(Motion()(clips))
    brighter = np.asarray(Motion()(clips + np.float32(offset)))
    np.testing.assert_allclose(brighter, found, atol=1e-4)
    stronger = np.asarray(Motion()(clips * np.float32(factor)))
    # The floor alone tells: its share of the smaller root mean square.
    power = np.sqrt((np.diff(clips, axis=1) ** 2).mean(axis=(2, 3, 4))).min()
    floor = 0.01 / (power * min(factor, 1))
    np.testing.assert_allclose(stronger, found, rtol=floor, atol=1e-4)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_low_precision_stays_low_and_close(precision):
    clips = noise(2, 4, 6, 8, 3)
    low = precision.removeprefix("mixed_")
    for make, training in ((Motion, False), (lambda **k: AugmentClip(**STRONG, seed=1, **k), True)):
        exact = np.asarray(make()(clips, **({"training": True} if training else {})))
        layer = make(dtype=precision)
        found = layer(clips, **({"training": True} if training else {}))
        assert keras.backend.standardize_dtype(found.dtype) == low
        found = np.asarray(keras.ops.cast(found, "float32"))
        assert np.abs(found - exact).mean() < 0.02


RANGES = ("zoom", "shift", "brightness", "contrast", "saturation", "tint")
PARTS = ("shuffle", "grey")
STRONG = {"flip": True, **dict.fromkeys(RANGES, 0.5), **dict.fromkeys(PARTS, 0.3)}


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
            # Not to the bit: one matrix product does all frames, and its order of sums may differ.
            np.testing.assert_allclose(frame, clip[0], atol=1e-6)
    for i in range(6):
        for j in range(i):
            assert np.abs(after[i] - after[j]).max() > 1e-3


@settings(deadline=None, max_examples=15)
@given(
    strengths=st.fixed_dictionaries(
        {name: st.floats(0, 0.95) for name in RANGES} | {name: st.floats(0, 1) for name in PARTS}
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
    shape = [n, 1, 21, 21, 3]
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


PLAIN = {"flip": False, "seed": 1}


def middling(n: int, seed: int = 0) -> np.ndarray:
    """Clips that no change of colour here takes out of range, (n, 2, 3, 4, 3)."""
    return np.float32(0.45) + np.float32(0.1) * noise(n, 2, 3, 4, 3, seed=seed)


def changed(clips: np.ndarray, **strengths) -> np.ndarray:
    return np.asarray(AugmentClip(**PLAIN | strengths)(clips, training=True))


def test_shuffling_gives_channels_other_places():
    clips = middling(120)
    found = set()
    for before, after in zip(clips, changed(clips, shuffle=1.0), strict=True):
        orders = [
            order
            for order in itertools.permutations(range(3))
            if np.allclose(before[..., order], after, atol=1e-6)
        ]
        assert len(orders) == 1
        found.add(orders[0])
    assert len(found) == 6


@pytest.mark.parametrize(("name", "moved"), [("shuffle", 5 / 6), ("grey", 1.0)])
@pytest.mark.parametrize("part", [0.2, 0.7])
def test_only_a_part_of_the_clips_changes(name, part, moved):
    clips = middling(600)
    change = np.abs(changed(clips, **{name: part}) - clips).max(axis=(1, 2, 3, 4))
    assert (change > 1e-4).mean() == pytest.approx(part * moved, abs=0.08)  # 4 deviations
    assert np.abs(changed(clips, **{name: 0.0}) - clips).max() == 0


def test_grey_clips_have_equal_channels_and_keep_their_light():
    clips = middling(10)
    found = changed(clips, grey=1.0)
    light = np.repeat(clips.mean(axis=-1, keepdims=True), 3, axis=-1)
    np.testing.assert_allclose(found, light, atol=1e-6)


def test_saturation_stretches_the_distance_from_grey():
    clips = middling(60)
    found = changed(clips, saturation=0.9)
    light = clips.mean(axis=-1, keepdims=True)
    before, after = (clips - light).reshape(60, -1), (found - light).reshape(60, -1)
    factors = (before * after).sum(axis=1) / (before**2).sum(axis=1)
    np.testing.assert_allclose(after, factors[:, None] * before, atol=1e-5)
    assert 0.1 - 1e-3 <= factors.min() < 0.4
    assert 1.6 < factors.max() <= 1.9 + 1e-3


def test_a_tint_multiplies_each_channel():
    clips = middling(60)
    ratios = changed(clips, tint=0.4) / clips
    factors = ratios[:, 0, 0, 0]  # (N, 3)
    np.testing.assert_allclose(ratios, factors[:, None, None, None] + 0 * ratios, rtol=1e-5)
    assert 0.6 - 1e-3 <= factors.min() < 0.7
    assert 1.3 < factors.max() <= 1.4 + 1e-3
    assert np.abs(np.diff(factors, axis=1)).max() > 0.3
    black = np.zeros_like(clips)
    np.testing.assert_array_equal(changed(black, tint=0.4), black)


@settings(deadline=None, max_examples=15)
@given(
    contrast=st.floats(0, 0.9),
    saturation=st.floats(0, 0.9),
    shuffle=st.floats(0, 1),
    grey=st.floats(0, 1),
    seed=st.integers(0, 999),
)
def test_all_changes_of_colour_but_tint_and_brightness_keep_the_mean(seed, **strengths):
    clips = middling(4, seed)
    found = changed(clips, **strengths, seed=seed)
    axes = (1, 2, 3, 4)
    np.testing.assert_allclose(found.mean(axes), clips.mean(axes), atol=1e-5)


def test_colours_alone_leave_places_alone():
    colours = {"brightness": 0.2, "contrast": 0.5, "saturation": 0.5, "tint": 0.2, "shuffle": 0.5}
    image = np.repeat(middling(8)[:, :1, :1, :1], 5, axis=3)  # one colour a clip
    found = changed(image, **colours)
    np.testing.assert_allclose(found, found[:, :, :, :1] + 0 * found, atol=1e-6)
    assert np.abs(found - image).max() > 0.05
