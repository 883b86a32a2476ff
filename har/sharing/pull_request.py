"""What a change does to the figures: the page of a pull request, as Markdown and as HTML.

An accuracy moved beyond noise if the 95 % interval of its change excludes 0. Where both sides have
predictions for the same clips, it is that of the paired difference (`har.evaluation.paired`).
"""

import contextlib
import csv
import html
import io
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from har import files
from har.errors import UserError
from har.evaluation import paired
from har.evaluation.paired import Interval
from har.sharing.commands import dvc, git

MARK = "<!-- har report -->"  # the workflow finds its comment by this
PICTURES = ("curves.png", "confusion.png", "shortcuts.png")
MAX_ROWS = 60  # of a table: a comment holds 65,536 characters
MAX_NAMES = 8  # of a sentence
VERDICTS = ("beyond noise", "within noise", "unchanged", "new", "gone")
TEST_FIGURES, TEST_PARAMS = (".n_test", ".n_groups"), ("dataset.", "split.")
Intervals = Mapping[tuple[str, str], Interval]  # by file and key of the metric
ReadBoth = Callable[[str], list[bytes | None]]  # a file of the base and of the working tree


class Commit(NamedTuple):
    """One side; `edited` if tracked files differ from it."""

    name: str
    sha: str
    subject: str
    edited: bool = False


class Difference(NamedTuple):
    """A metric or param on both sides; `None` where it is absent."""

    file: str
    key: str
    old: Any
    new: Any


class Comparison(NamedTuple):
    """What the page shows."""

    base: Commit
    head: Commit
    metrics: list[Difference]
    params: list[Difference]
    stages: dict[str, list[str]]  # that ran, with the inputs that changed
    unchanged_stages: list[str]
    stale: list[str]  # stages that would run again
    pictures: list[tuple[str, str | None, str | None]]  # title; file of each side, if any
    behind: int = 0  # commits of the base that this side lacks
    intervals: Mapping[tuple[str, str], Interval] = {}  # paired 95 % intervals of changes


class Judgement(NamedTuple):
    """A metric, one of `VERDICTS` or `""`, and the 95 % interval of its change, if it has one."""

    metric: Difference
    verdict: str
    interval: Interval | None


def judge(metrics: Sequence[Difference], intervals: Intervals) -> list[Judgement]:
    """Judge each metric `x` by the interval of its change, else by `x_low` and `x_high`."""
    values = {(m.file, m.key): m for m in metrics}
    judged = []
    for metric in metrics:
        file, key, old, new = metric
        if key.endswith(("_low", "_high")) and (file, key.rpartition("_")[0]) in values:
            continue
        low, high = (values.get((file, f"{key}_{end}")) for end in ("low", "high"))
        verdict, interval = "", intervals.get((file, key))
        if old is None or new is None or old == new:
            verdict = "new" if old is None else "gone" if new is None else "unchanged"
            interval = None
        elif not interval and low and high and None not in (*low, *high):
            sides = zip(metric[2:], low[2:], high[2:], strict=True)
            interval = paired.separate_difference(*sides)
        if interval:  # metrics are rounded: an interval that ends at 0 includes it
            within = interval[0] <= 1e-9 and interval[1] >= -1e-9
            verdict = "within noise" if within else "beyond noise"
        judged.append(Judgement(metric, verdict, interval))
    return judged


def verdict(judged: Sequence[Judgement]) -> str:
    """Return in a few sentences which figures moved and which did not."""
    sentences = []
    for kind in VERDICTS:
        chosen = [j for j in judged if j.verdict == kind]
        if "noise" not in kind:  # one figure a model is enough
            chosen = [j for j in chosen if j.metric.key.endswith("accuracy")]
        words = [_describe(j) for j in chosen[:MAX_NAMES]]
        if len(chosen) > MAX_NAMES:
            words.append(f"and {len(chosen) - MAX_NAMES} more")
        if words and kind == "beyond noise":
            sentences.append(f"**Moved beyond noise: {'; '.join(words)}.**")
        elif words:
            sentences.append(f"{kind.capitalize()}: {'; '.join(words)}.")
    return " ".join(sentences) or "There is no figure with an interval to judge by."


def _describe(judgement: Judgement) -> str:
    (_, key, old, new), kind, interval = judgement
    name = _cell(key.replace(".", " "))
    if interval is None:
        return f"{name}, was {number(old)}" if kind == "gone" else f"{name} {number(new)}"
    moved = "from" if kind == "within noise" else "rose from" if new > old else "fell from"
    change = f"by {number(new - old, '+')}, 95 % interval {_bounds(interval)}"
    return f"{name} {moved} {number(old)} to {number(new)} ({change})"


def markdown(comparison: Comparison, pictures_url: str | None = None) -> str:
    """Return the page as Markdown for GitHub and GitLab; pictures need an address."""
    base, head, _, params, stages, unchanged, _, pictures, *_ = comparison
    judged = judge(comparison.metrics, comparison.intervals)
    changed = [_metric_row(j) for j in judged if j.verdict != "unchanged"]
    same = _codes(j.metric.key for j in judged if j.verdict == "unchanged")
    chosen = [[_code(p.key), _code(p.old), _code(p.new)] for p in params]
    reasons = [[_code(stage), _codes(why) or "other outputs"] for stage, why in stages.items()]
    columns = ["metric", base.name, head.name, "change", "its 95 % interval", "verdict"]
    blocks = [
        f"{MARK}\n## {_side(head)} compared with {_side(base)}",
        verdict(judged),
        *(f"> {warning}" for warning in _warnings(comparison, judged)),
        "### Metrics\n\n" + _table(columns, changed, ":--|--:|--:|--:|:-:|:--"),
        same and f"Unchanged: {same}.",
        "### Params\n\n" + _table(["param", base.name, head.name], chosen, ":--|:--|:--"),
        "### Stages\n\n" + _table(["ran", "because of"], reasons, ":--|:--"),
        unchanged and f"Did not run: {_codes(unchanged)}.",
    ]
    if pictures and pictures_url is not None:
        rows = [[_cell(t), *(_image(t, name, pictures_url) for name in n)] for t, *n in pictures]
        blocks.append("### Pictures\n\n" + _table(["", base.name, head.name], rows, ":--|:-:|:-:"))
    blocks.append(
        "<sub>A figure moved beyond noise if the 95 % interval of its change excludes 0. The "
        "interval is bootstrapped over source videos; a figure without one is not judged. One run "
        "of one seed on each side.</sub>"
    )
    return "\n\n".join(filter(None, blocks)) + "\n"


def _warnings(comparison: Comparison, judged: Sequence[Judgement]) -> Iterator[str]:
    metrics, intervals = comparison.metrics, comparison.intervals
    other = [m.key for m in metrics if m.key.endswith(TEST_FIGURES) and m.old and m.old != m.new]
    if other := other + [p.key for p in comparison.params if p.key.startswith(TEST_PARAMS)]:
        yield (
            f"**Not the same test:** {_codes(other)} changed, so the figures are of other clips. "
            "A difference may come from the clips alone."
        )
    apart = [j.metric.key for j in judged if j.interval and j.metric[:2] not in intervals]
    if apart := [key for key in apart if not re.search(r"\.(shortcuts|unknown)\.", key)]:
        yield (
            f"**Not paired:** {_codes(apart)}. Both sides' predictions for the same clips are not "
            "at hand, so the separate intervals decide; they hide small changes."
        )
    new = {(m.file, m.key): m.new for m in metrics}
    for (file, key), low in new.items():
        chance = new.get((file, key.removesuffix("accuracy_low") + "chance"))
        if key.endswith("accuracy_low") and None not in (low, chance) and low <= chance:
            yield (
                f"**Perhaps only chance:** the interval of {_code(key.removesuffix('_low'))} "
                f"includes chance, {number(chance)}. Train for more epochs, test on more source "
                "videos, or look at the labels with `har preview`."
            )
    if comparison.stale:
        yield (
            f"**Figures are not current:** {_codes(comparison.stale)} would run again. Run "
            "`dvc repro` and commit `dvc.lock` and `metrics/`."
        )
    if comparison.behind:
        yield (
            f"**Behind {_cell(comparison.base.name)}:** commits of it that this side lacks: "
            f"{comparison.behind}. Their changes show here in reverse. Merge them, run "
            "`dvc repro` and report again."
        )


def page(text: str) -> str:
    """Turn the Markdown of a report into an HTML page that needs nothing but its pictures."""
    from markdown_it import MarkdownIt

    return _HEAD + MarkdownIt("commonmark", {"html": True}).enable("table").render(text)


def number(value: Any, sign: str = "") -> str:
    """Write a metric: integers as they are, others with four decimals or five digits."""
    if type(value) is int:
        return f"{value:{sign}}"
    if not isinstance(value, float):
        return _code(value)
    return f"{value:{sign}{'.4f' if 1e-3 <= abs(value) <= 1 or value == 0 else '.5g'}}"


def _metric_row(judgement: Judgement) -> list[str]:
    (_, key, old, new), kind, interval = judgement
    numbers = isinstance(old, int | float) and isinstance(new, int | float)
    change = [number(new - old, "+") if numbers else "", _bounds(interval) if interval else ""]
    kind = f"**{kind}**" if kind == "beyond noise" else kind
    return [_code(key), number(old), number(new), *change, kind]


def _image(title: str, name: str | None, url: str) -> str:
    return f"![{_cell(title)}]({url}/{name})" if name else "not at hand"


def _bounds(interval: Interval) -> str:
    return " to ".join(number(end, "+") for end in interval)


def _side(commit: Commit) -> str:
    edits = ", with changes not committed" if commit.edited else ""
    return f"{_cell(commit.name)} ({commit.sha} “{_cell(commit.subject)}”{edits})"


def _table(head: list[str], rows: list[list[str]], align: str) -> str:
    lines = [f"| {' | '.join(row)} |" for row in [list(map(_cell, head)), *rows[:MAX_ROWS]]]
    lines.insert(1, f"|{align}|")
    if len(rows) > MAX_ROWS:
        lines += ["", f"… and {len(rows) - MAX_ROWS} more."]
    return "\n".join(lines) if rows else "None changed."


def _cell(text: str) -> str:
    # No HTML, no ends of cells, no links to people.
    text = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"[|`*@\\[\]]", lambda mark: f"&#{ord(mark[0])};", text)


def _code(text: Any) -> str:
    words = "" if text is None else " ".join(str(text).split())
    words = words.replace("`", "'").replace("|", r"\|")
    return f"`{words}`" if words else ""


def _codes(names: Iterable[str]) -> str:
    return ", ".join(map(_code, names))


def write(comparison: Comparison, folder: Path, pictures_url: str | None = None) -> Path:
    """Write report.md, for a comment, and report.html, to look at; return the latter's path."""
    files.write_text(folder / "report.md", markdown(comparison, pictures_url))
    files.write_text(folder / "report.html", page(markdown(comparison, "pictures")))
    return folder / "report.html"


def compare(base: str, folder: Path | None = None) -> Comparison:
    """Compare the working tree with the commit `base`; copy the pictures to `folder`, if any."""
    from dvc.api import DVCFileSystem

    logging.getLogger("dvc").setLevel(logging.CRITICAL)
    branch = git("rev-parse", "--abbrev-ref", "HEAD")  # first: its error is Git's own
    try:
        sha = git("rev-parse", "--verify", "--end-of-options", f"{base}^{{commit}}")
    except UserError:
        raise UserError(
            f"Expected a commit, branch or tag to compare with. Received: {base}. Name another "
            "(`--base origin/main`, say), or fetch it first with `git fetch`."
        ) from None
    named = ("show", "--no-patch", "--format=%h%n%s")
    edited = bool(git("status", "--porcelain", "--untracked-files=no", "--", "."))
    here = "this commit" if branch == "HEAD" else branch
    old, new = _stages(sha), _stages(None)
    # Only pipelines that were run have figures; the comparison may not have been.
    pipelines = sorted({name.rpartition(":")[0] or "dvc.yaml" for name in new})
    planned = dvc("repro", "--dry", "--allow-missing", *pipelines) if pipelines else ""
    metrics = _differences("metrics", "diff", "--all", sha)
    # Reads from the cache, else from the storage; its paths start at the root of the repository.
    base_files = DVCFileSystem(rev=sha, subrepos=True)
    prefix = git("rev-parse", "--show-prefix")

    def read(path: str) -> list[bytes | None]:
        sides: list[bytes | None] = [None, Path(path).read_bytes() if Path(path).exists() else None]
        with contextlib.suppress(Exception):  # any error of a storage: the page says "not at hand"
            sides[0] = base_files.read_bytes(prefix + path)
        return sides

    return Comparison(
        Commit(base, *git(*named, sha).split("\n", 1)),
        Commit(here, *git(*named, "HEAD").split("\n", 1), edited=edited),
        metrics,
        _differences("params", "diff", sha),
        {name: _reasons(old.get(name), new[name]) for name in new if new[name] != old.get(name)},
        [name for name in new if new[name] == old.get(name)],
        re.findall(r"^Running stage '(.+)'", planned, re.MULTILINE),
        _pictures(old, new, read, folder / "pictures") if folder else [],
        int(git("rev-list", "--count", f"HEAD..{sha}", "--", ".")),
        _paired(metrics, read),
    )


def _differences(*command: str) -> list[Difference]:
    return [
        Difference(file, key, change.get("old"), change.get("new"))
        for file, changes in sorted(json.loads(dvc(*command, "--json")).items())
        for key, change in changes.items()
    ]


def _stages(sha: str | None) -> dict[str, dict[str, Any]]:
    # The entries of every dvc.lock of a commit, or of the working tree, by stage.
    names = git("ls-tree", "-r", "--name-only", sha) if sha else git("ls-files")
    stages = {}
    for path in map(Path, names.splitlines()):
        if path.name == "dvc.lock" and (sha or path.exists()):
            # "./": the project may be a folder of a larger repository.
            text = git("show", f"{sha}:./{path.as_posix()}") if sha else path.read_bytes()
            prefix = "" if path.parent == Path() else f"{path.with_name('dvc.yaml').as_posix()}:"
            try:
                stages |= {prefix + name: s for name, s in yaml.safe_load(text)["stages"].items()}
            except (yaml.YAMLError, TypeError, KeyError):
                raise UserError(
                    f"{path} is damaged. After a merge with a conflict run `make resolve`."
                ) from None
    return stages


def _reasons(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> list[str]:
    if not old:
        return ["a new stage"]
    was, now = (
        {"its command": side.get("cmd")}
        | dict(pair for part in side.get("params", {}).values() for pair in _flat(part))
        | {dep["path"]: dep.get("md5") for dep in side.get("deps", [])}
        for side in (old, new)
    )
    return [key for key in was | now if was.get(key) != now.get(key)]


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _paired(metrics: Sequence[Difference], read: ReadBoth) -> Intervals:
    found = {}
    for file, key, old, new in metrics:
        if key.endswith(".accuracy") and old != new and None not in (old, new):
            path = Path(file).parent / key.removesuffix(".accuracy") / "predictions.csv"
            was, now = map(_hits, read(path.as_posix()))
            if was and was.keys() == now.keys():
                hits = [np.array([side[clip] for clip in was]) for side in (was, now)]
                found[file, key] = paired.difference(*hits, [group for *_, group in was])[1:]
    return found


def _hits(table: bytes | None) -> dict[tuple[str, ...], bool]:  # by clip, class and group
    rows = csv.DictReader(io.StringIO((table or b"").decode(errors="replace")))
    if not {"clip", "group", "actual", "predicted"} <= set(rows.fieldnames or ()):
        return {}
    return {(r["clip"], r["actual"], r["group"]): r["actual"] == r["predicted"] for r in rows}


def _pictures(
    old: Mapping[str, Any], new: Mapping[str, Any], read: ReadBoth, folder: Path
) -> list[tuple[str, str | None, str | None]]:
    was, now = (
        {out["path"]: out.get("md5") for entry in side.values() for out in entry.get("outs", [])}
        for side in (old, new)
    )
    pictures = []
    for path in sorted(now):
        if Path(path).name in PICTURES and was.get(path) != now[path]:
            title, names = f"{Path(path).parent.name} {Path(path).stem}", []
            for data in read(path):
                # Named by content: servers cache pictures by their address.
                name = data and f"{title.replace(' ', '-')}-{files.digest(data.hex())}.png"
                if data:
                    files.write_bytes(folder / name, data)
                names.append(name)
            pictures.append((title, *names))
    return pictures


_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>har report</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1080px; margin: 2rem auto; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { border: 1px solid #d1d9e0; padding: .35em .8em; }
blockquote { margin: 0; padding: .1em 1em; background: #fff8c5; }
img { max-width: 440px; width: 100%; min-width: 260px; }
</style>
"""
