"""A data set before training on it: a contact sheet, a table of classes, clips that repeat."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from har import files, plots
from har.clips import duplicates, store
from har.clips.store import Clip, FrameStore

LISTED = 20  # lines of a list before it is cut
_HEADS = ("class", "clips", "groups", "seconds", "median", "fps", "size", "rejected")


def contact_sheet(frames: Path, output: Path, classes: int, seed: int) -> None:
    """Draw a random clip of each of at most `classes` random classes of a frame store, as PNG."""
    rng = np.random.default_rng(seed)
    with FrameStore(frames) as opened:
        chosen = sorted(rng.permutation(len(opened.classes))[:classes])
        picked = [rng.choice(np.flatnonzero(opened.labels == label)) for label in chosen]
        clips = [opened.clips[row] for row in picked]
        rows = list(zip(clips, opened.read(clips)[0], strict=True))
    title = f"{len(rows)} of {len(opened.classes)} classes"
    plots.contact_sheet(output, rows, title)


def report(data: Path) -> Iterator[str]:
    """Yield lines on the pipeline's outputs in `data`: classes, files left out, clips repeated."""
    with FrameStore(data / "frames.h5") as frames:
        clips = store.read_clips(data / "clips.csv")
        hashes = duplicates.hash_store(frames, clips)
    columns = dict.fromkeys(("clip", "class", "reason"), str)
    rejected = files.read_csv(data / "rejected.csv", columns)
    yield from table(clips, Counter(row["class"] for row in rejected))
    yield from _listed(
        f"Files left out ({len(rejected)}):" if rejected else "No file was left out.",
        [f"{row['clip']}: {row['reason']}" for row in rejected],
    )
    same = duplicates.identical(clips)
    yield from _listed(
        "Clips with the same bytes (one of them counts):" if same else "No clips with equal bytes.",
        [" = ".join(names) for names in same],
    )
    found = duplicates.across_groups(clips, hashes)
    pairs = [pair for pair in found if pair.difference is not None]
    head = "Near-duplicates of different groups, and the share of the hash that differs "
    yield from _listed(
        f"{head}({len(pairs)}):" if pairs else "No near-duplicates of different groups.",
        [f"{pair.difference:.0%}  {pair.first} ~ {pair.second}" for pair in pairs],
    )
    if pairs:
        yield "With split.merge_duplicates their groups stand on one side of the split."


def table(clips: Sequence[Clip], rejected: Mapping[str, int]) -> Iterator[str]:
    """Yield the lines of a table: a row a class, and all. `rejected` counts files by class."""
    by_class = defaultdict(list)
    for clip in clips:
        by_class[clip.label].append(clip)
    rows = [_row(name, part, rejected.get(name, 0)) for name, part in sorted(by_class.items())]
    if len(rows) > 1:
        rows.append(_row("all", clips, sum(rejected.values())))
    first, *widths = (max(map(len, column)) for column in zip(_HEADS, *rows, strict=True))
    for name, *cells in (_HEADS, *rows):
        right = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
        yield "  ".join([name.ljust(first), *right]).rstrip()


def _row(name: str, clips: Sequence[Clip], rejected: int) -> tuple[str, ...]:
    seconds = [clip.n_frames / clip.fps for clip in clips if clip.fps]
    spans = (sum(seconds), median(seconds)) if seconds else ()
    return (
        name,
        f"{len(clips):,}",
        f"{len({(clip.label, clip.group) for clip in clips}):,}",
        # Without a frame rate the length of a clip is unknown.
        *([f"{s:,.1f}" for s in spans] or ["?"] * 2),
        _counted(f"{clip.fps:g}" if clip.fps else "?" for clip in clips),
        _counted(f"{clip.width}x{clip.height}" for clip in clips),
        str(rejected),
    )


def _counted(values: Iterable[str]) -> str:
    counts = Counter(values)
    text = ", ".join(value for value, _ in counts.most_common(2))
    return text + (f" +{len(counts) - 2}" if len(counts) > 2 else "")


def _listed(head: str, items: Sequence[str]) -> Iterator[str]:
    yield ""
    yield head
    yield from (f"  {item}" for item in items[:LISTED])
    if len(items) > LISTED:
        yield f"  and {len(items) - LISTED:,} more"
