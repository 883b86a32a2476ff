import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from har.errors import UserError
from har.evaluation import timelines
from har.evaluation.timelines import Span

TRUTH = [Span(0, 10, "a"), Span(10, 20, "b"), Span(20, 30, "a")]


@pytest.mark.parametrize(
    ("found", "frames", "f1_10", "f1_50", "edit"),
    [
        (TRUTH, 1, 1, 1, 1),
        ([Span(0, 30, "a")], 20 / 30, 2 / 4, 0, 1 / 3),
        ([Span(0, 10, "a"), Span(10, 20, "b")], 20 / 30, 4 / 5, 4 / 5, 2 / 3),
        # Over-segmented: all frames but two seconds are right, each extra segment is wrong.
        (
            [Span(0, 4, "a"), Span(4, 6, "b"), Span(6, 10, "a"), *TRUTH[1:]],
            28 / 30,
            6 / 8,
            4 / 8,
            3 / 5,
        ),
        # Late by 3 s: 7 of 13 s overlap, which is above 0.5.
        ([Span(0, 13, "a"), Span(13, 23, "b"), Span(23, 30, "a")], 24 / 30, 1, 1, 1),
        ([Span(0, 30, "unknown")], 0, 0, 0, 0),
        ([Span(0, 10, "x"), Span(10, 20, "y"), Span(20, 30, "z")], 0, 0, 0, 0),
    ],
)
def test_figures_by_hand(found, frames, f1_10, f1_50, edit):
    figures = timelines.figures(found, TRUTH)
    assert figures["frame_accuracy"] == pytest.approx(frames, abs=2e-3)
    assert figures["f1_10"] == pytest.approx(f1_10)
    assert figures["f1_50"] == pytest.approx(f1_50)
    assert figures["edit"] == pytest.approx(edit)


def test_what_no_span_covers_is_unknown():
    truth = [Span(2, 4, "a"), Span(6, 8, "b")]
    whole = [Span(0, 2, "unknown"), truth[0], Span(4, 6, "unknown"), truth[1]]
    assert set(timelines.figures(whole, truth).values()) == {1.0}


@given(st.lists(st.tuples(st.integers(1, 9), st.sampled_from("abc")), min_size=1, max_size=8))
def test_a_timeline_agrees_with_itself_and_figures_are_shares(parts):
    edges = np.cumsum([0, *(seconds for seconds, _ in parts)])
    spans = [Span(a, b, p[1]) for a, b, p in zip(edges, edges[1:], parts, strict=False)]
    assert set(timelines.figures(spans, spans).values()) == {1.0}
    assert all(0 <= value <= 1 for value in timelines.figures(spans, TRUTH).values())


def test_a_table_of_the_truth(tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text("source,start,end,class,probability\nv,2.5,3,b,1\nv,0,2.5,a,1\n")
    assert timelines.read(path) == [Span(0, 2.5, "a"), Span(2.5, 3, "b")]


def test_touching_spans_of_one_class_are_one(tmp_path):
    """As they are in the frames' labels: nobody can see where one clip ends and the next begins."""
    path = tmp_path / "truth.csv"
    rows = ["1.5,3,a", "0,1.5,a", "3,4,b", "4.5,5,b", "5.01,6,b"]
    path.write_text("start,end,class\n" + "\n".join(rows))
    spans = [Span(0, 3, "a"), Span(3, 4, "b"), Span(4.5, 6, "b")]
    assert timelines.read(path) == spans


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("start,end\n0,1\n", "'class'"),
        ("start,end,class\n0,x,a\n", "'x'"),
        ("start,end,class\n0\n", "Received"),
        ("start,end,class\n3,1,a\n", "3 to 1"),
        ("start,end,class\n", "no rows"),
        ("", "no rows"),
    ],
)
def test_a_table_that_is_wrong_is_one_line(tmp_path, text, says):
    path = tmp_path / "truth.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=says) as error:
        timelines.read(path)
    assert "\n" not in str(error.value)
