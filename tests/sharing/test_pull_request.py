"""The judgement and the page of a report, from given numbers."""

import pytest

from har.sharing import pull_request
from har.sharing.pull_request import Commit, Comparison, Difference

MAIN, MINE = Commit("main", "abc1234", "Start"), Commit("mine", "def5678", "Faster")


def judge(metrics, **intervals):
    return pull_request.judge(metrics, intervals)


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
        "stages": {},
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
        (0.85, (0.80, 0.90), 0.91, NONE, ""),
        (0.85, NONE, 0.91, (0.80, 0.95), ""),
        (None, NONE, 0.85, (0.8, 0.9), "new"),
        (0.85, (0.80, 0.90), None, NONE, "gone"),
    ],
)
def test_a_figure_moves_when_the_interval_of_its_change_leaves_out_zero(
    old, was, new, now, expected
):
    (judged,) = judge(accuracy(old, new, was, now))
    assert judged.metric.key == "lrcn.accuracy"
    assert judged.verdict == expected


def test_a_paired_interval_takes_precedence():
    changed = accuracy(0.85, 0.91, (0.80, 0.90), (0.86, 0.96))
    key = ("metrics/metrics.json", "lrcn.accuracy")
    (judged,) = pull_request.judge(changed, {key: (0.01, 0.11)})
    assert (judged.verdict, judged.interval) == ("beyond noise", (0.01, 0.11))
    (judged,) = pull_request.judge(changed, {key: (0.0, 0.12)})
    assert judged.verdict == "within noise"


def test_what_is_judged_without_pairs_is_named():
    key = ("metrics/metrics.json", "lrcn.accuracy")
    changed = accuracy(0.85, 0.91)
    assert "Not paired:** `lrcn.accuracy`" in pull_request.markdown(comparison(changed))
    text = pull_request.markdown(comparison(changed, intervals={key: (0.01, 0.11)}))
    assert "Not paired" not in text


@pytest.mark.parametrize(("low", "warns"), [(0.1, True), (0.25, True), (0.26, False)])
def test_an_interval_that_includes_chance_is_named_with_advice(low, warns):
    changed = accuracy(0.3, 0.4, (0.2, 0.5), (low, 0.6)) + metrics(lrcn__chance=(0.25, 0.25))
    text = pull_request.markdown(comparison(changed))
    said = "**Perhaps only chance:** the interval of `lrcn.accuracy` includes chance, 0.2500."
    assert (said in text) == warns
    assert ("Train for more epochs" in text) == warns


def test_a_figure_without_an_interval_is_not_judged():
    (judged,) = judge(metrics(lrcn__loss=(0.3, 3.0)))
    assert judged.verdict == ""
    assert pull_request.verdict([judged]) == "There is no figure with an interval to judge by."


def test_the_verdict_names_what_moved_first():
    judged = judge(
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
    assert "; and 12 more." in pull_request.verdict(judge(many))


def test_the_page_names_both_commits_and_what_ran():
    text = pull_request.markdown(
        comparison(
            accuracy(0.85, 0.95, now=(0.9, 1.0)),
            params=[Difference("params.yaml", "lrcn.units", 32, 64)],
            stages={"train-lrcn": ["lrcn.units"]},
            unchanged_stages=["fetch"],
            pictures=[("lrcn curves", None, "b.png")],
        ),
        "https://example.org/p",
    )
    assert text.startswith(pull_request.MARK)
    assert "mine (def5678 “Faster”) compared with main (abc1234 “Start”)" in text
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
        ({"behind": 2}, "Behind main:** commits of it that this side lacks: 2."),
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
