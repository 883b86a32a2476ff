"""Key points in body sizes: what shifting, scaling and doubt may and may not change."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from har.backbones import movenet
from har.models.pose_lstm import normalise

T = 5


def points(seed: int) -> np.ndarray:
    """Return (1, T, 17, 3): a body that moves, y, x and confidence."""
    rng = np.random.default_rng(seed)
    body = rng.normal(0, 0.1, (1, 1, 17, 2)) + rng.normal(0, 0.02, (1, T, 17, 2))
    return np.concatenate([body, rng.uniform(0.1, 1, (1, T, 17, 1))], axis=-1).astype(np.float32)


def describe(points: np.ndarray) -> np.ndarray:
    flat = points.reshape(*points.shape[:2], -1)
    return np.asarray(normalise(keras.ops.convert_to_tensor(flat))).reshape(-1, T, 17, 5)


@given(
    seed=st.integers(0, 100),
    shift=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)),
    scale=st.floats(0.2, 5),
)
@settings(max_examples=30, deadline=None)
def test_nothing_changes_with_the_place_and_the_size_of_the_person(seed, shift, scale):
    original = points(seed)
    moved = original.copy()
    moved[..., :2] = original[..., :2] * np.float32(scale) + np.float32(shift)
    np.testing.assert_allclose(describe(moved), describe(original), atol=2e-3)


def test_body_sizes_from_the_middle_of_the_body():
    """Two joints at ±1 around (3, 4), trusted alike: the middle is there, the size is 1."""
    some = np.zeros((1, T, 17, 3), np.float32)
    some[..., :2] = (3, 4)
    some[:, :, :2, 2] = 0.5
    some[:, :, 0, 0] += 1
    some[:, :, 1, 0] -= 1
    described = describe(some)
    np.testing.assert_allclose(described[0, :, 0, :2], [[1, 0]] * T, atol=1e-3)
    np.testing.assert_allclose(described[0, :, 1, :2], [[-1, 0]] * T, atol=1e-3)
    np.testing.assert_allclose(described[0, :, :2, 4], 0.5)


def test_a_jump_of_the_whole_body_stays():
    still, jump = points(1), points(1)
    jump[:, 2, :, 0] -= 0.3  # up, in one frame
    described, expected = describe(jump), describe(still)
    assert (described[0, 2, :, 0] < expected[0, 2, :, 0] - 0.5).all()
    assert (described[0, 2, :, 2] < expected[0, 2, :, 2] - 1).all(), "velocity into the jump"
    assert (described[0, 3, :, 2] > expected[0, 3, :, 2] + 1).all(), "velocity out of it"


def test_velocity_is_the_change_since_the_frame_before():
    described = describe(points(3))
    np.testing.assert_array_equal(described[:, 0, :, 2:4], 0)
    change = described[:, 1:, :, :2] - described[:, :-1, :, :2]
    np.testing.assert_allclose(described[:, 1:, :, 2:4], change, atol=1e-5)


def test_a_joint_that_is_not_seen_does_not_move_the_middle():
    seen, guessed = points(4), points(4)
    for some in (seen, guessed):
        some[:, :, 5, 2] = 0
    guessed[:, :, 5, :2] += 0.4
    expected, found = describe(seen), describe(guessed)
    others = [j for j in range(17) if j != 5]
    np.testing.assert_allclose(found[:, :, others], expected[:, :, others], atol=1e-3)


def test_nobody_in_the_picture_gives_numbers():
    assert np.isfinite(describe(np.zeros((1, T, 17, 3), np.float32))).all()


@pytest.mark.parametrize("size", [(240, 320), (320, 240), (192, 192), (30, 1000)])
def test_frames_are_padded_to_a_square_in_proportion(size):
    frame = np.full((*size, 3), 255, np.uint8)
    square = movenet.square(frame)
    assert square.shape == (192, 192, 3)
    lit = square[..., 0] > 0
    height, width = lit.any(axis=1).sum(), lit.any(axis=0).sum()
    assert max(height, width) == 192
    assert height / width == pytest.approx(size[0] / size[1], rel=0.1)
    rows = np.flatnonzero(lit.any(axis=1))
    assert abs(rows[0] - (191 - rows[-1])) <= 1, "not in the middle"
