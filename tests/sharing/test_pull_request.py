"""The judgement and the page of a report, from given numbers."""

import numpy as np
import pytest

from har.sharing import pull_request
from har.sharing.pull_request import Commit, Comparison, Difference, Picture, StageRun

MAIN, MINE = Commit("main", "abc1234", "Start"), Commit("mine", "def5678", "Faster")


def metrics(**pairs):
    return [Difference("metrics/metrics.json", k.replace("__", "."), *v) for k, v in pairs.items()]


def accuracy(old, new, was=(0.8, 0.9), now=(0.8, 0.95)):
    return metrics(
        lrcn__accuracy=(old, new),
        lrcn__accuracy_low=(was[0], now[0]),
        lrcn__accuracy_high=(was[1], now[1]),
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


NONE = (None, None)


@pytest.mark.parametrize(
    ("old", "was", "new", "now", "expected"),
    [
        (0.85, (0.80, 0.90), 0.85, (0.8, 0.9), "unchanged"),
        (0.85, (0.80, 0.90), 0.86, (0.81, 0.91), "within noise"),
        # Out of the other's interval, each way, and noise all the same: 0.06 < hypot(0.05, 0.05).
        (0.85, (0.80, 0.90), 0.91, (0.86, 0.96), "within noise"),
        # The base cannot do better than its bound says, but this side's own doubt is wide.
        (1.00, (1.00, 1.00), 0.97, (0.90, 1.00), "within noise"),
        (1.00, (1.00, 1.00), 0.97, (0.95, 0.99), "beyond noise"),
        # 3, 4, 5: zero is the very end of the interval.
        (0.50, (0.40, 0.53), 0.55, (0.51, 0.60), "within noise"),
        (0.50, (0.40, 0.53), 0.5501, (0.5101, 0.60), "beyond noise"),
        (0.55, (0.51, 0.60), 0.50, (0.40, 0.53), "within noise"),
        (0.90, (0.87, 0.93), 0.80, (0.76, 0.84), "beyond noise"),
        (0.85, (0.80, 0.90), 0.91, NONE, "beyond noise"),
        (0.85, NONE, 0.91, (0.80, 0.95), "within noise"),
        (None, NONE, 0.85, (0.8, 0.9), "new"),
        (0.85, (0.80, 0.90), None, NONE, "gone"),
    ],
)
def test_a_figure_moves_when_the_interval_of_its_change_leaves_out_zero(
    old, was, new, now, expected
):
    (judged,) = pull_request.judge(accuracy(old, new, was, now))
    assert judged.difference.key == "lrcn.accuracy"
    assert judged.verdict == expected


def test_the_interval_of_a_change_covers_as_often_as_it_says():
    """Means of known numbers: 95 of 100 intervals hold the true difference."""
    rng = np.random.default_rng(27)
    n, covered = 2000, 0
    for _ in range(n):
        sides = []
        for mean, spread in ((0.8, 0.02), (0.9, 0.01)):
            value = rng.normal(mean, spread)
            sides.append((value, value - 1.96 * spread, value + 1.96 * spread))
        low, high = pull_request.change_interval(*sides)
        covered += low <= 0.1 <= high
    assert covered / n == pytest.approx(0.95, abs=0.015)


def test_a_figure_without_an_interval_is_not_judged():
    (judged,) = pull_request.judge(metrics(lrcn__loss=(0.3, 3.0)))
    assert judged.verdict == ""
    assert pull_request.verdict([judged]) == "There is no figure with an interval to judge by."


def test_the_verdict_names_what_moved_first():
    judged = pull_request.judge(
        metrics(
            convlstm__accuracy=(0.85, 0.86),
            convlstm__accuracy_low=(0.82, 0.82),
            convlstm__accuracy_high=(0.89, 0.9),
            lrcn__accuracy=(0.99, 0.9),
            lrcn__accuracy_low=(0.95, 0.8),
            lrcn__accuracy_high=(1.0, 0.93),
        )
    )
    assert pull_request.verdict(judged) == (
        "**Moved beyond noise: lrcn accuracy fell from 0.9900 to 0.9000 (by -0.0900, 95 % interval "
        "-0.1905 to -0.0400).** Within noise: convlstm accuracy from 0.8500 to 0.8600 (by +0.0100, "
        "95 % interval -0.0466 to +0.0600)."
    )


def test_a_long_verdict_is_cut():
    many = metrics(**{f"a{i}__accuracy": (None, 0.5) for i in range(20)})
    assert "; and 12 more." in pull_request.verdict(pull_request.judge(many))


def test_the_page_names_both_commits_and_what_ran():
    text = pull_request.markdown(
        comparison(
            accuracy(0.85, 0.95, now=(0.9, 1.0)),
            params=[Difference("params.yaml", "lrcn.units", 32, 64)],
            stages=[StageRun("train-lrcn", ["lrcn.units"])],
            unchanged_stages=["fetch"],
            pictures=[Picture("lrcn curves", None, "b.png")],
        ),
        "https://example.org/p",
    )
    assert text.startswith(pull_request.MARK)
    assert "mine (def5678 “Faster”) beside main (abc1234 “Start”)" in text
    row = "| `lrcn.accuracy` | 0.8500 | 0.9500 | +0.1000 | +0.0293 to +0.1707 | **beyond noise** |"
    assert row in text
    assert "| `lrcn.units` | `32` | `64` |" in text
    assert "| `train-lrcn` | `lrcn.units` |" in text
    assert "Did not run: `fetch`." in text
    assert "| lrcn curves | not at hand | ![lrcn curves](https://example.org/p/b.png) |" in text


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"params": [Difference("params.yaml", "split.fold", 0, 1)]}, "Not the same test"),
        ({"stale": ["train-lrcn"]}, "Figures are not current:** `train-lrcn`"),
        ({"behind": 2}, "Behind main:** it has 2 commits"),
        ({}, "None changed."),
    ],
)
def test_the_page_warns(fields, says):
    assert says in pull_request.markdown(comparison(accuracy(0.85, 0.85), **fields))


def test_other_test_clips_are_told():
    changed = [*accuracy(0.85, 0.86), *metrics(lrcn__n_test=(144, 130))]
    assert "Not the same test:** `lrcn.n_test`" in pull_request.markdown(comparison(changed))


def test_text_from_commits_and_params_cannot_break_the_page():
    evil = Commit("mine", "def5678", "a|b <script>alert(1)</script> @everyone [x](http://y)")
    params = [Difference("params.yaml", "dataset.path", "a|b", "`<img src=x>`\n| c")]
    facts = comparison(accuracy(0.85, 0.86), params=params)._replace(head=evil)
    text = pull_request.markdown(facts)
    assert "@everyone" not in text
    page = pull_request.page(text)
    assert "<script>" not in page
    assert "<img" not in page
    assert 'href="http' not in page
    assert page.count("<tr>") == 2 + 2, "a header and a row in each of two tables"


def test_a_long_table_is_cut():
    params = [Difference("params.yaml", f"p{i}", 0, 1) for i in range(500)]
    text = pull_request.markdown(comparison(accuracy(0.85, 0.86), params=params))
    assert "… and 440 more." in text
    assert len(text) < 65_536


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1.0000"), (0, "0"), (50286, "50286"), (18.183, "18.183"), (1e-5, "1e-05")],
)
def test_numbers(value, text):
    assert pull_request.number(value) == text
