"""The judgement and the page of a report, from given numbers."""

import pytest

from har import report
from har.report import Commit, Comparison, Difference, Picture, StageRun

MAIN, MINE = Commit("main", "abc1234", "Start"), Commit("mine", "def5678", "Faster")


def metrics(**pairs):
    return [Difference("metrics/metrics.json", k.replace("__", "."), *v) for k, v in pairs.items()]


def accuracy(old, new, low=0.8, high=0.9):
    return metrics(
        lrcn__accuracy=(old, new), lrcn__accuracy_low=(low, 0.1), lrcn__accuracy_high=(high, 1.0)
    )


def comparison(metrics, **fields):
    facts = {
        "params": [],
        "stages": [],
        "unchanged_stages": [],
        "stale": [],
        "pictures": [],
        **fields,
    }
    return Comparison(MAIN, MINE, metrics, **facts)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (0.85, 0.85, "unchanged"),
        (0.85, 0.86, "within noise"),
        (0.85, 0.80, "within noise"),
        (0.85, 0.90, "within noise"),
        (0.85, 0.91, "beyond"),
        (0.85, 0.79, "beyond"),
        (None, 0.85, "new"),
        (0.85, None, "gone"),
    ],
)
def test_a_figure_moves_when_it_leaves_the_interval_of_the_base(old, new, expected):
    bounds = (None, None) if old is None else (0.8, 0.9)
    (judged,) = report.judge(accuracy(old, new, *bounds))
    assert judged.difference.key == "lrcn.accuracy"
    assert judged.verdict == expected


def test_a_figure_without_an_interval_is_not_judged():
    (judged,) = report.judge(metrics(lrcn__loss=(0.3, 3.0)))
    assert judged.verdict == ""
    assert report.verdict([judged]) == "There is no figure with an interval to judge by."


def test_the_verdict_names_what_moved_first():
    judged = report.judge(
        metrics(
            convlstm__accuracy=(0.85, 0.86),
            convlstm__accuracy_low=(0.8, 0.8),
            convlstm__accuracy_high=(0.9, 0.9),
            lrcn__accuracy=(0.99, 0.9),
            lrcn__accuracy_low=(0.97, 0.8),
            lrcn__accuracy_high=(1.0, 0.95),
        )
    )
    assert report.verdict(judged) == (
        "**Moved beyond the interval: lrcn accuracy fell from 0.9900 to 0.9000 (interval 0.9700 "
        "to 1.0000).** Within noise: convlstm accuracy from 0.8500 to 0.8600 (interval 0.8000 to "
        "0.9000)."
    )


def test_the_page_names_both_commits_and_what_ran():
    text = report.markdown(
        comparison(
            accuracy(0.85, 0.95),
            params=[Difference("params.yaml", "lrcn.units", 32, 64)],
            stages=[StageRun("train-lrcn", ["lrcn.units"])],
            unchanged_stages=["fetch"],
            pictures=[Picture("lrcn curves", None, "b.png")],
        ),
        "https://example.org/p",
    )
    assert text.startswith(report.MARK)
    assert "mine (def5678 “Faster”) beside main (abc1234 “Start”)" in text
    assert "| `lrcn.accuracy` | 0.8500 | 0.9500 | +0.1000 | 0.8000 to 0.9000 |" in text
    assert "| `lrcn.units` | `32` | `64` |" in text
    assert "| `train-lrcn` | `lrcn.units` |" in text
    assert "Did not run: `fetch`." in text
    assert "| lrcn curves | not at hand | ![lrcn curves](https://example.org/p/b.png) |" in text


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"params": [Difference("params.yaml", "split.fold", 0, 1)]}, "Not the same test"),
        ({"stale": ["train-lrcn"]}, "Figures are not current:** `train-lrcn`"),
        ({}, "None changed."),
    ],
)
def test_the_page_warns(fields, says):
    assert says in report.markdown(comparison(accuracy(0.85, 0.85), **fields))


def test_other_test_clips_are_told():
    changed = [*accuracy(0.85, 0.86), *metrics(lrcn__n_test=(144, 130))]
    assert "Not the same test:** `lrcn.n_test`" in report.markdown(comparison(changed))


def test_text_from_commits_and_params_cannot_break_the_page():
    evil = Commit("mine", "def5678", "a|b <script>alert(1)</script> @everyone [x](http://y)")
    params = [Difference("params.yaml", "dataset.path", "a|b", "`<img src=x>`\n| c")]
    facts = comparison(accuracy(0.85, 0.86), params=params)._replace(head=evil)
    text = report.markdown(facts)
    assert "@everyone" not in text
    page = report.page(text)
    assert "<script>" not in page
    assert "<img" not in page
    assert 'href="http' not in page
    assert page.count("<tr>") == 2 + 2, "a header and a row in each of two tables"


def test_a_long_table_is_cut():
    params = [Difference("params.yaml", f"p{i}", 0, 1) for i in range(500)]
    text = report.markdown(comparison(accuracy(0.85, 0.86), params=params))
    assert "… and 440 more." in text
    assert len(text) < 65_536


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1.0000"), (0, "0"), (50286, "50286"), (18.183, "18.183"), (1e-5, "1e-05")],
)
def test_numbers(value, text):
    assert report.number(value) == text
