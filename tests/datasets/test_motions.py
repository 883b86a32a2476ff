"""Random motions of rendered people: what the networks are pretrained on."""

import hashlib

import cv2
import numpy as np
import pytest

from har.datasets.rendering import figure, motions


def test_a_film_depends_on_its_numbers_alone():
    first = motions.render(5, 17)
    assert first.shape == (*motions.SHAPE, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(motions.render(5, 17), first)
    others = motions.render(5, 18), motions.render(6, 17)
    assert all(np.abs(first.astype(int) - other).mean() > 1 for other in others)


@pytest.mark.parametrize("number", range(0, 96, 8))
def test_every_motion_moves(number):
    rng, phase = np.random.default_rng(number), np.linspace(0, 1, 20)
    body = motions.body_of(motions.motion(number), rng, phase, dict(figure.PROPORTIONS))
    points = np.stack(list(body.values()), axis=1)
    assert np.ptp(points, axis=0).max() > 0.1, "statures"


def test_half_of_the_motions_are_pairs_that_time_alone_tells_apart():
    for first in range(2, 40, 4):
        one, other = motions.motion(first), motions.motion(first + 1)
        np.testing.assert_array_equal(one.keys, other.keys)
        np.testing.assert_array_equal(one.times, other.times)
        assert one[2:5] == other[2:5]
        assert (one.backwards, other.backwards) == (False, True)
    assert not any(motions.motion(n).backwards for n in range(40) if n % 4 != 3)
    keys = {motions.motion(n).keys.tobytes() for n in range(400)}
    assert len(keys) == 300, "all others differ"


@pytest.mark.parametrize("number", range(0, 60, 7))
def test_a_body_is_finite_and_as_long_as_a_body(number):
    rng = np.random.default_rng(number)
    phase = np.linspace(0, 2, 30)
    body = motions.body_of(motions.motion(number), rng, phase, dict(figure.PROPORTIONS))
    points = np.stack(list(body.values()), axis=1)
    assert points.shape[0] == 30
    assert np.isfinite(points).all()
    extent = np.linalg.norm(points.max(axis=1) - points.min(axis=1), axis=1)
    assert (extent < 2.5).all(), "statures"
    assert (extent > 0.3).all()


@pytest.mark.parametrize("held", ["feet", "floor", "hands", "air"])
def test_what_is_held_stays_in_its_place(held):
    drawn = next(m for m in map(motions.motion, range(400)) if m.held == held)
    drawn.keys[:, -3:] = 0  # no jump, no step
    rng = np.random.default_rng(0)
    body = motions.body_of(drawn, rng, np.linspace(0, 1, 40), dict(figure.PROPORTIONS))
    lowest = np.min([at[:, 2] for at in body.values()], axis=0)
    grips = (body["grip_left"] + body["grip_right"]) / 2
    if held in ("feet", "floor"):
        np.testing.assert_allclose(lowest, 0, atol=1e-6)
    elif held == "hands":
        np.testing.assert_allclose(grips, np.tile([0, 0, 1.3], (40, 1)), atol=1e-6)
    else:
        np.testing.assert_allclose(body["pelvis"], np.tile([0, 0, 0.6], (40, 1)), atol=1e-6)


def test_the_bytes_of_a_film():
    """The weights of the project were learned on these films."""
    cv2.setNumThreads(1)
    digest = hashlib.sha256(motions.render(1, 1).tobytes()).hexdigest()
    assert digest == "11e365dadc41e4bea30295d296ad89e5f2f3a899ccbadcbb8d1d5cd868598f81"
