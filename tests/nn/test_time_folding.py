import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from layer_helpers import noise

from har.nn.time_folding import FoldTime, ShiftFeatures, UnfoldTime, fold, unfold


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
    assert fold(noise(2, 5, 8)).shape == (10, 8)
    assert unfold(noise(10, 8), 5).shape == (2, 5, 8)


@settings(deadline=None, max_examples=15)
@given(
    n=st.integers(1, 3),
    n_frames=st.integers(1, 4),
    channels=st.sampled_from([3, 8, 16, 20]),
    size=st.integers(1, 3),
)
def test_an_eighth_of_the_features_comes_from_the_frame_before_and_one_from_the_one_after(
    n, n_frames, channels, size
):
    clips = noise(n, n_frames, size, size, channels)
    found = ShiftFeatures(n_frames)(clips.reshape(n * n_frames, size, size, channels))
    found = np.asarray(found).reshape(clips.shape)
    part = channels // 8
    for t in range(n_frames):
        before = clips[:, t - 1, ..., :part] if t > 0 else 0
        after = clips[:, t + 1, ..., part : 2 * part] if t + 1 < n_frames else 0
        np.testing.assert_array_equal(found[:, t, ..., :part], before + 0 * found[:, t, ..., :part])
        np.testing.assert_array_equal(
            found[:, t, ..., part : 2 * part], after + 0 * found[:, t, ..., part : 2 * part]
        )
        np.testing.assert_array_equal(found[:, t, ..., 2 * part :], clips[:, t, ..., 2 * part :])


@pytest.mark.parametrize("channels", [8, 20])
def test_what_a_shift_gives_forward_its_gradient_takes_back(channels):
    """⟨shift(x), g⟩ = ⟨x, gradient(g)⟩ for all x and g, since a shift is linear."""
    x, g = (tf.constant(noise(6, 2, 3, channels, seed=seed)) for seed in (1, 2))
    with tf.GradientTape() as tape:
        tape.watch(x)
        shifted = ShiftFeatures(3)(x)
    back = tape.gradient(shifted, x, output_gradients=g)
    np.testing.assert_allclose(ops.sum(shifted * g), ops.sum(x * back), rtol=1e-5)
    # The last frame's first eighth went nowhere, the frame before it to the last one.
    np.testing.assert_array_equal(back[2, ..., : channels // 8], 0 * g[2, ..., : channels // 8])
    np.testing.assert_array_equal(back[1, ..., : channels // 8], g[2, ..., : channels // 8])


@pytest.mark.parametrize("channels", [3, 16, 20])
def test_a_shift_by_slices_is_that_by_kernels(channels, monkeypatch):
    x = noise(6, 2, 3, channels)
    expected = ShiftFeatures(3)(x)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    np.testing.assert_array_equal(ShiftFeatures(3)(x), expected)
