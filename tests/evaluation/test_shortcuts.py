from pathlib import Path

import numpy as np
import pytest

from har.clips import extraction, store
from har.datasets import sample
from har.evaluation import shortcuts
from har.evaluation.predictions import Predictions

SHAPE = (6, 32, 32)


class Spy:
    """A network that says the first class, and keeps what it was shown."""

    def __init__(self):
        self.shown = []

    def __call__(self, frames):
        self.shown.append(frames.copy())
        return np.eye(3)[np.zeros(len(frames), int)], frames


@pytest.fixture
def tested(in_tmp_path, write_video):
    """Squares that move over a place of its own in each clip."""
    for i in range(6):
        film = np.full((12, 32, 32, 3), 30 * i + 20, np.uint8)
        for t, frame in enumerate(film):
            frame[8:16, 2 * t : 2 * t + 8] = 250
        write_video(Path("videos", "ABC"[i % 3], f"{i}_g{i:02}_c01.avi"), film)
    extraction.extract(Path("videos"), SHAPE, Path("frames.h5"), n_jobs=1)
    with store.FrameStore(Path("frames.h5")) as frames:
        labels = frames.labels_of(frames.clips)
        rows = np.eye(3)[labels]
        yield frames, Predictions(frames.clips, frames.clips, labels, rows, frames.classes)


def test_what_each_variant_shows(tested):
    frames, predictions = tested
    spy = Spy()
    rows = shortcuts.test(spy, predictions, frames, "folder", seed=3)
    still, shuffled, backwards, elsewhere = spy.shown
    wanted, _ = frames.read(frames.clips)
    assert np.array_equal(backwards, wanted[:, ::-1])
    for i, clip in enumerate(wanted):
        assert all(np.array_equal(frame, clip[3]) for frame in still[i])
        order = [
            int(np.abs(clip - frame.astype(int)).sum((1, 2, 3)).argmin()) for frame in shuffled[i]
        ]
        assert sorted(order) == list(range(6))
        # The square is where it was; the place is that of a clip of another class.
        places = np.median(wanted, axis=(1, 2, 3, 4)).astype(int)
        assert abs(int(np.median(elsewhere[i])) - places[i]) > 20
        for new, old in zip(elsewhere[i].astype(int), clip.astype(int), strict=True):
            square = old.min(axis=2) > 230
            assert np.abs(new - old)[square].mean() < 12
    assert any(not np.array_equal(a, b) for a, b in zip(shuffled, wanted, strict=True))
    assert [row[:3] for row in rows] == [(c, c, c[0]) for c in frames.clips]
    assert all(row[3:] == (row[2], *"AAAA") for row in rows)


def test_parts_give_the_same_variants(tested, monkeypatch):
    frames, predictions = tested
    spies = Spy(), Spy()
    shortcuts.test(spies[0], predictions, frames, "folder", seed=3)
    monkeypatch.setattr(shortcuts, "PART", 4)
    shortcuts.test(spies[1], predictions, frames, "folder", seed=3)
    whole = spies[0].shown[0]
    assert np.array_equal(np.concatenate([spies[1].shown[0], spies[1].shown[4]]), whole)
    assert len(spies[1].shown) == 8


def test_sample_clips_are_filmed_again_in_another_place(in_tmp_path):
    sample.render(Path("videos"), ["SitDown", "Squats"], groups=1, clips_per_group=2, n_jobs=1)
    extraction.extract(Path("videos"), (6, 120, 160), Path("frames.h5"), n_jobs=1)
    with store.FrameStore(Path("frames.h5")) as frames:
        clips = tuple(frames.clips)
        before, _ = frames.read(clips)
    after = shortcuts.rendered_elsewhere(clips, (6, 120, 160))
    change = np.abs(after.astype(int) - before).mean(axis=(1, 4))  # (N, H, W)
    for clip in change:
        # The person in the middle stays; the corners of the place do not.
        corners = np.concatenate([clip[:20, :20].ravel(), clip[:20, -20:].ravel()])
        assert corners.mean() > 10
        assert np.quantile(clip[40:80, 60:100], 0.25) < 10
    # Clips of one group are in one place.
    corner = after[:, 0, :16, :16].astype(float).mean(axis=(1, 2))
    assert np.abs(corner[0] - corner[1]).max() < 12


def test_figures():
    classes = ["SitDown", "StandUp", "Squats"]
    rows = []
    for i, actual in enumerate(classes * 4):
        opposite = {"SitDown": "StandUp", "StandUp": "SitDown"}.get(actual, actual)
        rows.append((f"{i}", f"{actual}/g{i}", actual, actual, "Squats", actual, opposite, actual))
    found = shortcuts.figures(rows, resamples=100, seed=1)
    accuracies = {name: round(figure["accuracy"], 3) for name, figure in found.items()}
    assert accuracies == {
        "as_is": 1.0,
        "still": 0.333,
        "shuffled": 1.0,
        "backwards": 0.333,
        "elsewhere": 1.0,
        "reversed": 0.0,
    }
    assert found["still"]["accuracy_low"] < 0.333 < found["still"]["accuracy_high"]
    assert shortcuts.shares({"shortcuts": found})["still"] == pytest.approx(1 / 3)
    plain = [(*row[:2], "A", *row[3:]) for row in rows]
    assert "reversed" not in shortcuts.figures(plain, resamples=100, seed=1)
