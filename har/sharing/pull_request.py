"""What a change does to the figures: the page of a pull request, as Markdown and as HTML.

DVC tells the differences. What is added is a judgement: a test figure moved only if the 95 %
interval of its change, made of the intervals of both sides, leaves out zero; the rest is noise.
"""

import html
import math
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from har import files
from har.errors import UserError

MARK = "<!-- har report -->"  # by which the comment of a pull request is found again
PICTURES = ("curves.png", "confusion.png")
MAX_ROWS = 60  # of a table: a comment holds 65,536 characters
MAX_NAMES = 8  # of a sentence
ORDER = ("accuracy", "top5", "macro_f1", "loss", "n_test", "n_groups", "chance", "majority")
# What decides which clips are tested on.
TEST_PARAMS = ("dataset.", "split.")


class Commit(NamedTuple):
    """A side of the comparison.

    Attributes:
        name: as the user calls it.
        sha: abbreviated.
        subject: first line of the message.
        edited: whether tracked files differ from it.
    """

    name: str
    sha: str
    subject: str
    edited: bool = False


class Difference(NamedTuple):
    """A metric or param on both sides; `None` where it is not there."""

    file: str
    key: str
    old: Any
    new: Any


class StageRun(NamedTuple):
    """A stage whose entry in dvc.lock changed, and what changed of its inputs."""

    name: str
    because: list[str]


class Picture(NamedTuple):
    """A picture on both sides: file names in the report's folder, `None` where there is none."""

    title: str
    old: str | None
    new: str | None


class Comparison(NamedTuple):
    """All that the page tells."""

    base: Commit
    head: Commit
    metrics: list[Difference]
    params: list[Difference]
    stages: list[StageRun]
    unchanged_stages: list[str]
    stale: list[str]
    pictures: list[Picture]
    behind: int = 0  # commits of the base that this side lacks


class Judgement(NamedTuple):
    """A metric held against noise.

    Attributes:
        difference: old and new value.
        interval: of the change, 95 %; `None` where neither side has one.
        verdict: `unchanged`, `within noise`, `beyond noise`, `new`, `gone`, or `""` without
            interval.
    """

    difference: Difference
    interval: tuple[float, float] | None
    verdict: str


def judge(metrics: Sequence[Difference]) -> list[Judgement]:
    """Hold the change of each metric `x` against the intervals `x_low` and `x_high` of both sides.

    The bounds themselves are not judged and not in the result.
    """
    values = {(m.file, m.key): m for m in metrics}
    judged = []
    for metric in metrics:
        stem = metric.key.removesuffix("_low").removesuffix("_high")
        if stem != metric.key and (metric.file, stem) in values:
            continue
        low, high = (values.get((metric.file, f"{metric.key}_{end}")) for end in ("low", "high"))
        interval = None
        if metric.old is None:
            verdict = "new"
        elif metric.new is None:
            verdict = "gone"
        elif metric.old == metric.new:
            verdict = "unchanged"
        elif low is None or high is None:
            verdict = ""
        else:
            interval = change_interval(
                (metric.old, low.old, high.old), (metric.new, low.new, high.new)
            )
            # Figures are rounded; touching zero is within.
            within = interval[0] <= 1e-9 and interval[1] >= -1e-9
            verdict = "within noise" if within else "beyond noise"
        judged.append(Judgement(metric, interval, verdict))
    return judged


def change_interval(
    old: tuple[float, float | None, float | None], new: tuple[float, float | None, float | None]
) -> tuple[float, float]:
    """Return the 95 % interval of `new - old` from the value, low and high end of each.

    Distances to the ends add up as squares, each side's own towards the other (Zou and Donner,
    Statistics in Medicine 27, 2008). It takes the sides as independent; tested on the same clips
    they rise and fall together, so that the interval is rather too wide. A side without ends
    (`None`) adds nothing.

    Example:
        >>> low, high = change_interval((0.80, 0.76, 0.84), (0.90, 0.87, 0.93))
        >>> round(low, 3), round(high, 3)
        (0.05, 0.15)
    """
    (was, was_low, was_high), (now, now_low, now_high) = (
        (value, value if low is None else low, value if high is None else high)
        for value, low, high in (old, new)
    )
    change = now - was
    return (
        change - math.hypot(now - now_low, was_high - was),
        change + math.hypot(now_high - now, was - was_low),
    )


def verdict(judged: Sequence[Judgement]) -> str:
    """Say in words which figures with an interval moved and which did not."""
    parts = []
    judged = [j for j in judged if j.interval or j.verdict in ("unchanged", "new", "gone")]
    names = {
        "beyond noise": "Moved beyond noise",
        "within noise": "Within noise",
        "unchanged": "Unchanged",
        "new": "New",
        "gone": "Gone",
    }
    for kind, words in names.items():
        chosen = [j for j in judged if j.verdict == kind]
        if kind in ("unchanged", "new", "gone"):  # one figure a model is enough
            chosen = [j for j in chosen if j.difference.key.endswith("accuracy")]
        if not chosen:
            continue
        told = [_tell(j) for j in chosen[:MAX_NAMES]]
        if len(chosen) > MAX_NAMES:
            told.append(f"and {len(chosen) - MAX_NAMES} more")
        sentence = f"{words}: {'; '.join(told)}."
        parts.append(f"**{sentence}**" if kind == "beyond noise" else sentence)
    return " ".join(parts) or "There is no figure with an interval to judge by."


def _tell(judgement: Judgement) -> str:
    (_, key, old, new), interval, kind = judgement
    name = _cell(key.replace(".", " "))
    if kind == "new":
        return f"{name} {number(new)}"
    if kind == "gone":
        return f"{name}, was {number(old)}"
    if kind == "unchanged":
        return f"{name} {number(old)}"
    moved = "from" if kind == "within noise" else "rose from" if new > old else "fell from"
    return (
        f"{name} {moved} {number(old)} to {number(new)} (by {_signed(new - old)}, "
        f"95 % interval {_bounds(interval)})"
    )


def markdown(comparison: Comparison, pictures_url: str | None = None) -> str:
    """Write the page.

    Args:
        comparison: what to tell.
        pictures_url: where the pictures are, without a final slash; `None` leaves them out.

    Returns:
        Markdown as GitHub and GitLab read it.
    """
    base, head, metrics, params, stages, unchanged, stale, pictures, behind = comparison
    judged = sorted(judge(metrics), key=lambda j: _rank(j.difference))
    lines = [MARK, f"## {_side(head)} beside {_side(base)}", "", verdict(judged), ""]
    other_test = [m.key for m in metrics if m.key.endswith((".n_test", ".n_groups"))]
    other_test = [m.key for m in metrics if m.key in other_test and m.old != m.new and m.old]
    other_test += [p.key for p in params if p.key.startswith(TEST_PARAMS)]
    if other_test:
        lines += [
            f"> **Not the same test:** {_codes(other_test)} changed, so the figures are of other "
            "clips. A difference may come from the clips alone.",
            "",
        ]
    if stale:
        lines += [
            f"> **Figures are not current:** {_codes(stale)} would run again. Run `dvc repro` and "
            "commit `dvc.lock` and `metrics/`.",
            "",
        ]
    if behind:
        commits = "a commit" if behind == 1 else f"{behind} commits"
        lines += [
            f"> **Behind {_cell(base.name)}:** it has {commits} that this side lacks, and what "
            "they changed shows here the other way round. Merge it, run `dvc repro` and report "
            "again.",
            "",
        ]
    lines += ["### Metrics", ""]
    changed = [j for j in judged if j.verdict != "unchanged"]
    if changed:
        lines += _table(
            ["metric", base.name, head.name, "change", "its 95 % interval", "verdict"],
            [_metric_row(j) for j in changed],
            ":--|--:|--:|--:|:-:|:--",
        )
    else:
        lines += ["None changed." if judged else "There are none.", ""]
    same = [j for j in judged if j.verdict == "unchanged"]
    if changed and same:
        names = _codes(j.difference.key for j in same)
        lines += [f"<details><summary>{len(same)} unchanged</summary>", "", names, "", "</details>"]
        lines += [""]
    lines += ["### Params", ""]
    if params:
        rows = [[_code(p.key), _value(p.old), _value(p.new)] for p in params]
        lines += _table(["param", base.name, head.name], rows, ":--|:--|:--")
    else:
        lines += ["None changed.", ""]
    lines += ["### Stages", ""]
    if stages:
        rows = [[_code(run.name), _codes(run.because) or "other outputs"] for run in stages]
        lines += _table(["ran", "because of"], rows, ":--|:--")
    if unchanged:
        lines += [f"Did not run: {_codes(unchanged)}.", ""]
    if pictures and pictures_url is not None:
        lines += ["### Pictures", ""]
        lines += _table(
            ["", base.name, head.name],
            [
                [_cell(p.title), _image(p, p.old, pictures_url), _image(p, p.new, pictures_url)]
                for p in pictures
            ],
            ":--|:-:|:-:",
        )
    lines += [
        "<sub>A figure moved beyond noise if the 95 % interval of its change leaves out zero. That "
        "interval is made of those of both sides, bootstrapped over source videos; a figure "
        "without one is not judged. One run of one seed on each side.</sub>"
    ]
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """Turn the Markdown of a report into an HTML page that needs nothing but its pictures."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    return _PAGE.format(body=body)


def number(value: Any) -> str:
    """Write a metric: integers as they are, others with four decimals or a few digits.

    Example:
        >>> number(0.91667), number(50286), number(0.000123), number(18.18)
        ('0.9167', '50286', '0.000123', '18.18')
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _value(value)
    if isinstance(value, int) or not math.isfinite(value):
        return str(value)
    if abs(value) > 1:
        return f"{value:.5g}"
    return f"{value:.4f}" if abs(value) >= 1e-3 or value == 0 else f"{value:.3g}"


def _metric_row(judgement: Judgement) -> list[str]:
    (_, key, old, new), interval, kind = judgement
    change = ""
    if isinstance(old, int | float) and isinstance(new, int | float):
        change = _signed(new - old)
    kind = f"**{kind}**" if kind == "beyond noise" else kind
    return [
        _code(key),
        "" if old is None else number(old),
        "" if new is None else number(new),
        change,
        _bounds(interval) if interval else "",
        kind,
    ]


def _signed(change: float) -> str:
    text = number(change)
    return text if text.startswith("-") else f"+{text}"


def _bounds(interval: tuple[float, float]) -> str:
    return " to ".join(map(_signed, interval))


def _rank(metric: Difference) -> tuple[str, str, int, str]:
    model, _, name = metric.key.rpartition(".")
    return metric.file, model, ORDER.index(name) if name in ORDER else len(ORDER), name


def _side(commit: Commit) -> str:
    edits = ", with changes not committed" if commit.edited else ""
    return f"{_cell(commit.name)} ({commit.sha} “{_cell(commit.subject)}”{edits})"


def _table(head: list[str], rows: list[list[str]], align: str) -> list[str]:
    lines = [f"| {' | '.join(_cell(name) for name in head)} |", f"|{align}|"]
    lines += [f"| {' | '.join(row)} |" for row in rows[:MAX_ROWS]]
    if len(rows) > MAX_ROWS:
        lines += ["", f"… and {len(rows) - MAX_ROWS} more."]
    return [*lines, ""]


def _cell(text: str) -> str:
    """Make any text safe in a table cell, and free of HTML and of links to people."""
    text = html.escape(" ".join(str(text).split()), quote=False)
    return re.sub(r"[|`*@\\[\]]", lambda mark: f"&#{ord(mark[0])};", text)


def _code(text: Any) -> str:
    words = " ".join(str(text).split()).replace("`", "'").replace("|", r"\|")
    return f"`{words}`" if words else ""


def _codes(names: Iterable[str]) -> str:
    return ", ".join(map(_code, names))


def _value(value: Any) -> str:
    return "" if value is None else _code(value)


def _image(picture: Picture, name: str | None, url: str) -> str:
    return f"![{_cell(picture.title)}]({url}/{name})" if name else "not at hand"


def compare(base: str, folder: Path | None = None) -> Comparison:
    """Compare the working tree with the commit `base`.

    Args:
        base: a branch, tag or commit.
        folder: where to put the pictures, `pictures/` below it; `None` for none.

    Raises:
        UserError: `base` is no commit, or the working directory is not the project.
    """
    from har.sharing.storage import opened

    base_commit = _commit(base, base)
    head_name = _git("rev-parse", "--abbrev-ref", "HEAD")
    head = _commit("HEAD", "this commit" if head_name == "HEAD" else head_name)
    dirty = bool(_git("status", "--porcelain", "--untracked-files=no"))
    with opened() as repo:
        try:
            metrics = repo.metrics.diff(a_rev=base_commit.sha, b_rev="workspace", all=True)
            params = repo.params.diff(a_rev=base_commit.sha, b_rev="workspace")
            with repo.lock:
                # A pipeline that was never run, as the comparison's may be, has no figures.
                stale = [
                    stage.addressing
                    for stage in repo.index.stages
                    if Path(stage.path).with_name("dvc.lock").exists()
                    and stage.changed(allow_missing=True)
                ]
        except Exception as error:
            raise UserError(
                f"Expected a pipeline that DVC can compare with {base}. Received: "
                f"{' '.join(str(error).split())}. Mend that and run again."
            ) from None
    old, new = _locks(base_commit.sha), _locks(None)
    stages = [
        StageRun(name, _reasons(old.get(name, {}), entry))
        for name, entry in new.items()
        if entry != old.get(name)
    ]
    return Comparison(
        base_commit,
        head._replace(edited=dirty),
        _differences(metrics),
        _differences(params),
        stages,
        [name for name, entry in new.items() if entry == old.get(name)],
        stale,
        _pictures(base_commit, old, new, folder) if folder else [],
        int(_git("rev-list", "--count", f"HEAD..{base_commit.sha}")),
    )


def write(comparison: Comparison, folder: Path, pictures_url: str | None = None) -> Path:
    """Write report.md, for a comment, and report.html, to look at; return the latter's path."""
    files.write_text(folder / "report.md", markdown(comparison, pictures_url))
    path = folder / "report.html"
    files.write_text(path, page(markdown(comparison, "pictures")))
    return path


def _differences(found: Mapping[str, Any]) -> list[Difference]:
    return [
        Difference(file, key, change.get("old"), change.get("new"))
        for file, changes in sorted(found.get("diff", {}).items())
        for key, change in sorted(changes.items())
    ]


def _git(*args: str) -> str:
    try:
        done = subprocess.run(["git", *args], capture_output=True, check=True)  # noqa: S603, S607
    except FileNotFoundError:
        raise UserError("Expected git. Received: no such program. Install it.") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        raise UserError(
            f"Expected Git to answer `git {' '.join(args)}`. Received: "
            f"{said[0] if said else 'no answer'}. Run from the root of the project's clone."
        ) from None
    return done.stdout.decode("utf-8", errors="replace").rstrip("\n")


def _commit(revision: str, name: str) -> Commit:
    try:
        sha = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except UserError:
        raise UserError(
            f"Expected a commit, branch or tag to compare with. Received: {revision}. Name another "
            "(`--base origin/main`, say), or fetch it first with `git fetch`."
        ) from None
    short, subject = _git("show", "--no-patch", "--format=%h%n%s", sha).split("\n", 1)
    return Commit(name, short, subject)


def _locks(sha: str | None) -> dict[str, dict[str, Any]]:
    """Return the entries of every dvc.lock of a commit, or of the working tree, by stage."""
    listed = _git("ls-tree", "-r", "--name-only", sha) if sha else _git("ls-files")
    stages = {}
    for name in listed.splitlines():
        if Path(name).name != "dvc.lock":
            continue
        try:
            text = _git("show", f"{sha}:{name}") if sha else Path(name).read_text(encoding="utf-8")
            entries = yaml.safe_load(text)["stages"]
        except FileNotFoundError:
            continue
        except (yaml.YAMLError, TypeError, KeyError):
            raise UserError(
                f"Expected a valid {name}. Received: one that cannot be read. After a merge with "
                "a conflict run `make resolve`."
            ) from None
        prefix = "" if name == "dvc.lock" else f"{Path(name).parent.as_posix()}:"
        stages |= {prefix + stage: entry for stage, entry in entries.items()}
    return stages


def _reasons(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    if not old:
        return ["a new stage"]
    reasons = ["its command"] if old.get("cmd") != new.get("cmd") else []
    was, now = _flat(old.get("params", {})), _flat(new.get("params", {}))
    reasons += [key for key in sorted(was | now) if was.get(key) != now.get(key)]
    was, now = ({d["path"]: d.get("md5") for d in side.get("deps", [])} for side in (old, new))
    reasons += [path for path in sorted(was | now) if was.get(path) != now.get(path)]
    return reasons


def _flat(params: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    flat: dict[str, Any] = {}

    def visit(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping) and value:
            for key, inner in value.items():
                visit(f"{prefix}.{key}" if prefix else str(key), inner)
        else:
            flat[prefix] = value

    for section in params.values():
        visit("", section)
    return flat


def _pictures(
    base: Commit,
    old: Mapping[str, Mapping[str, Any]],
    new: Mapping[str, Mapping[str, Any]],
    folder: Path,
) -> list[Picture]:
    """Copy the pictures that changed to `folder/pictures`, of both sides where they are at hand."""
    was, now = (
        {out["path"]: out.get("md5") for entry in side.values() for out in entry.get("outs", [])}
        for side in (old, new)
    )
    pictures = []
    for path in sorted(now):
        if Path(path).name in PICTURES and was.get(path) != now[path]:
            title = f"{Path(path).parent.name} {Path(path).stem}"
            sides = {
                "old": _read_at(base.sha, path) if path in was else None,
                "new": Path(path).read_bytes() if Path(path).is_file() else None,
            }
            names: dict[str, str | None] = {"old": None, "new": None}
            for side, data in sides.items():
                if data:
                    # Named by content: servers keep pictures in a cache by their address.
                    name = f"{title.replace(' ', '-')}-{files.digest(data.hex())}.png"
                    (folder / "pictures").mkdir(parents=True, exist_ok=True)
                    (folder / "pictures" / name).write_bytes(data)
                    names[side] = name
            pictures.append(Picture(title, names["old"], names["new"]))
    return pictures


def _read_at(sha: str, path: str) -> bytes | None:
    """Return an output of a commit from the cache or the remote, `None` if neither has it."""
    import logging

    from dvc.api import DVCFileSystem

    logging.getLogger("dvc").setLevel(logging.CRITICAL)
    try:
        return DVCFileSystem(rev=sha).read_bytes(path)
    except Exception:
        return None  # the page says that it is not at hand


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>har report</title>
<style>
body {{ font: 16px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: #1f2328;
  max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }}
h2, h3 {{ border-bottom: 1px solid #d1d9e0; padding-bottom: .3em; }}
table {{ border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }}
th, td {{ border: 1px solid #d1d9e0; padding: .35em .8em; }}
tr:nth-child(even) {{ background: #f6f8fa; }}
code {{ background: #eff1f3; border-radius: 4px; padding: .15em .35em; font-size: 88%; }}
blockquote {{ margin: 0; padding: .1em 1em; border-left: .25em solid #d4a72c;
  background: #fff8c5; }}
img {{ max-width: 440px; width: 100%; min-width: 260px; }}
</style>
{body}
</html>
"""
