import re
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from har.clips.video import even_indices
from har.predictor import outputs, timeline
from har.predictor.prediction import Action
from har.predictor.timeline import Live, segments
from har.predictor.windows import windows as cut


def video(n, fps=25.0, start=0.0):
    """Frames that hold their own index."""
    return [(start + i / fps, np.full((1, 1, 3), i, np.int64)) for i in range(n)]


def windows(frames, seconds, stride, count):
    return cut(frames, seconds, stride, lambda n: even_indices(n, count))


def indices(window):
    return window.frames[:, 0, 0, 0].tolist()


def test_a_video_as_long_as_the_window_is_sampled_as_a_clip():
    found = list(windows(video(50), 2.0, 0.5, 20))
    assert len(found) == 1
    assert indices(found[0]) == even_indices(50, 20).tolist()
    assert (found[0].start, found[0].end) == (0.0, 2.0)


def test_a_shorter_video_is_one_window():
    (window,) = windows(video(10), 4.0, 1.0, 20)
    assert indices(window) == even_indices(10, 20).tolist()
    assert (window.start, window.end) == pytest.approx((0, 0.4))


def test_one_frame():
    (window,) = windows(video(1), 4.0, 1.0, 3)
    assert indices(window) == [0, 0, 0]


def test_no_frame():
    assert list(windows([], 4.0, 1.0, 3)) == []


@given(
    n=st.integers(1, 200),
    fps=st.sampled_from([5.0, 10.0, 25.0, 29.97]),
    seconds=st.sampled_from([0.4, 1.0, 2.5]),
    stride=st.sampled_from([0.2, 0.5, 1.0, 3.0]),
)
def test_every_window_is_cut_by_the_definition(n, fps, seconds, stride):
    frames = video(n, fps)
    times = np.array([time for time, _ in frames])
    finish = n / fps if n > 1 else 0.0
    found = list(windows(frames, seconds, stride, 7))
    regular = [k * stride for k in range(1000) if k * stride + seconds <= times[-1] + 5e-4]
    for window, start in zip(found, regular, strict=False):
        assert window.start == pytest.approx(start)
        assert window.end == pytest.approx(start + seconds)
        inside = np.flatnonzero((times >= start - 5e-4) & (times < start + seconds - 5e-4))
        assert indices(window) == inside[even_indices(len(inside), 7)].tolist()
    if len(found) > len(regular):
        last = found[-1]
        assert len(found) == len(regular) + 1
        assert last.end == pytest.approx(finish)
        assert last.start == pytest.approx(max(finish - seconds, 0.0))
        inside = np.flatnonzero(times >= last.start - 5e-4)
        assert indices(last) == inside[even_indices(len(inside), 7)].tolist()
    assert found[-1].end == pytest.approx(finish, abs=2e-3)


def test_a_still_stretch_shows_its_last_frame():
    frames = [*video(3, 10.0), (9.0, np.full((1, 1, 3), 3, np.int64))]
    found = list(windows(frames, 2.0, 2.0, 2))
    # Its first window and its last: those between show nothing new.
    assert [window.start for window in found] == pytest.approx([0, 2, 6, 15.8])
    assert [indices(window) for window in found[1:3]] == [[2, 2]] * 2


def test_windows_are_bounded_by_frames():
    # As a damaged header has it: an hour from one frame to the next.
    found = list(windows(video(45, 1 / 3600), 2.0, 0.5, 3))
    assert len(found) <= 3 * 45
    assert found[-1].end == pytest.approx(45 * 3600)


def test_windows_hold_a_window_of_frames_and_no_more():
    alive = 0

    class Counted(np.ndarray):
        def __del__(self):
            nonlocal alive
            alive -= 1

    most = 0

    def frames():
        nonlocal alive, most
        for i in range(5000):
            alive += 1
            yield i / 25, np.zeros((1, 1, 3), np.uint8).view(Counted)
            most = max(most, alive)

    for _ in windows(frames(), 2.0, 0.5, 4):
        pass
    assert most < 2.5 * 25 + 20


def rows(*shares):
    """Two classes: the first one's shares."""
    return np.array([[p, 1 - p] for p in shares])


def path_by_trying_all(evidence, cost):
    n, C = evidence.shape
    return max(
        product(range(C), repeat=n),
        key=lambda p: (
            sum(evidence[i, c] for i, c in enumerate(p))
            - cost * sum(a != b for a, b in pairwise(p))
        ),
    )


@given(st.integers(1, 6), st.integers(1, 3), st.floats(0, 4), st.integers(0, 10_000))
def test_the_path_is_the_likeliest(n, n_classes, cost, seed):
    evidence = np.log(np.random.default_rng(seed).dirichlet(np.ones(n_classes), n) + 1e-6)
    assert tuple(timeline.path(evidence, cost)) == path_by_trying_all(evidence, cost)


def spans_of(n):
    return [(0.5 * i, 0.5 * i + 2) for i in range(n)]


def test_a_doubtful_answer_changes_nothing():
    shares = [0.9] * 6 + [0.3] + [0.9] * 6
    (segment,) = segments(spans_of(13), rows(*shares), np.ones(13))
    assert (segment.label, segment.start, segment.end) == (0, 0.0, 8.0)
    assert segment.probability == pytest.approx(np.mean(shares))


def test_a_segment_is_unknown_where_no_window_of_it_is_familiar():
    shares = [0.99] * 8 + [0.01] * 8
    familiar = np.full(16, -1.0)
    familiar[3] = 0.5
    found = segments(spans_of(16), rows(*shares), familiar)
    assert [segment.label for segment in found] == [0, None]
    assert found[1].probability == pytest.approx(0.99)
    (whole,) = segments(spans_of(16), rows(*shares), np.full(16, -1.0))
    assert whole.label is None


def test_the_background_is_unknown():
    shares = [0.99] * 8 + [0.01] * 8
    found = segments(spans_of(16), rows(*shares), np.ones(16), background=1)
    assert [segment.label for segment in found] == [0, None]


def test_a_camera_changes_its_mind_after_a_few_answers():
    live = Live(answers=8)
    labels = [live.update(row, 1.0) for row in rows(*[0.95] * 5, *[0.05] * 12)]
    change = labels.index(1)
    assert labels == [0] * change + [1] * (17 - change)
    assert 5 < change < 12


def test_a_camera_knows_nothing_where_no_answer_of_a_window_was_familiar():
    live = Live(answers=3)
    familiar = [1, -1, -1, -1, -1, 1]
    labels = [live.update(np.array([0.9, 0.1]), value) for value in familiar]
    assert labels == [0, 0, 0, None, None, 0]
    background = Live(answers=3, background=0)
    assert background.update(np.array([0.9, 0.1]), 1.0) is None


@given(st.integers(1, 40), st.integers(0, 10_000))
def test_segments_cover_the_video(n, seed):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(3, 0.1), n)
    spans = spans_of(n)
    found = segments(spans, p, rng.normal(size=n), change=0.2)
    assert (found[0].start, found[-1].end) == (0.0, spans[-1][1])
    for a, b in pairwise(found):
        assert a.end == b.start
        assert a.label != b.label
    assert all(s.start < s.end and 0 <= s.probability <= 1 for s in found)


def test_a_segment_changes_where_the_action_does():
    # The action changes at 10 s; windows of 2 s; a window is for what fills most of it.
    spans = [(0.5 * i, 0.5 * i + 2) for i in range(37)]
    shares = [np.clip((10 - start) / 2, 0.001, 0.999) for start, _ in spans]
    first, second = segments(spans, rows(*shares), np.ones(37))
    assert (first.label, second.label) == (0, 1)
    assert abs(first.end - 10) <= 0.5


FOUND = [
    Action(0, 1.25, "Sit & <Stand>", 0.876),
    Action(1.25, 3, "unknown", 0.3),
    Action(3, 3725.0004, "Jump", 1.0),
]


def test_srt():
    assert outputs.srt_text(FOUND) == (
        "1\n00:00:00,000 --> 00:00:01,250\nSit & <Stand> 88%\n\n"
        "2\n00:00:03,000 --> 01:02:05,000\nJump 100%\n"
    )


@given(st.floats(0, 360_000))
def test_subtitle_clocks_are_valid(seconds):
    text = outputs.srt_text([Action(0, seconds, "Jump", 0.5)])
    hours, minutes, rest = re.search(r"--> (\d\d+):([0-5]\d):([0-5]\d,\d{3})\n", text).groups()
    assert int(hours) * 3600 + int(minutes) * 60 + float(rest.replace(",", ".")) == pytest.approx(
        seconds, abs=6e-4
    )


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0:00.0"), (59.96, "1:00.0"), (75.25, "1:15.2"), (3725, "1:02:05.0")],
)
def test_clock(seconds, said):
    assert outputs.clock(seconds) == said
