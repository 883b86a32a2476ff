"""What names and tables say of clips: their groups, and parts of long videos.

Where clips come from a table (`har.datasets.table`), `data/fetched/segments.csv` lists them as
parts of the videos in `data/fetched/_sources/`. `clip` is then a unique name without a file,
Class/stem_12.5-15.mp4; the other columns are those of `Segment`.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from har import files
from har.clips.store import source_of
from har.errors import UserError

FILE = "segments.csv"
COLUMNS = ("clip", "class", "group", "source", "start", "end", "fold", "row")
SOURCES = "_sources"
# What systems and cameras leave in folders that people copy, and what a table makes.
JUNK = {
    *("@eadir", "$recycle.bin", "__macosx", "desktop.ini", "lost+found", "recycler"),
    *("system volume information", "thumbs.db", SOURCES),
}
_UCF = r"_(g\d+)_c\d+$"


def is_junk(name: str) -> bool:
    """Return whether a file or folder of this name is none of the user's; hidden ones are not."""
    return name.startswith(".") or name.casefold() in JUNK


def printable(name: str) -> str:
    r"""Return a file's name as text that can be printed: bytes that are not UTF-8 as `\xff`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def walk(folder: Path, *, notes: bool = False) -> Iterator[Path]:
    """Yield the files below a folder but hidden ones and junk; links are followed.

    Links to nothing are yielded too. `notes` prints linked folders, and what is no file. A
    `UserError` names a folder that cannot be read.
    """
    try:
        entries = [(entry, entry.is_dir(), entry.is_file()) for entry in sorted(folder.iterdir())]
    except OSError as error:
        raise UserError(
            f"{folder} cannot be read ({error.strerror}). Make it readable, or move it away."
        ) from None
    for entry, is_folder, is_file in entries:
        if is_junk(entry.name):
            continue
        if is_folder and entry.is_symlink():
            if folder.resolve().is_relative_to(entry.resolve()):
                raise UserError(f"{entry} is a link to a folder that holds it. Remove the link.")
            if notes:
                print(
                    f"{entry} is a link, which DVC does not follow: after a change of what it "
                    "leads to, run `dvc repro --force fetch`."
                )
        if is_folder:
            yield from walk(entry, notes=notes)
        elif is_file or entry.is_symlink():
            yield entry
        elif notes:
            print(f"{entry} is left out: it is no file.")


class Segment(NamedTuple):
    """A clip as a part of a video."""

    source: str  # the video's file below data/fetched
    start: float  # seconds from the start of the video
    end: float | None  # seconds; None: the end of the video
    group: str  # clips of one group share a source video and stand on one side of a split
    fold: int | None = None  # that the table asks for, from 0
    row: int | None = None  # line of the table


def group_of(clip: str, pattern: str | None = None) -> str | None:
    """Return the group in the name of a clip's file, or None where it has none.

    `pattern` is a regular expression with one group, searched regardless of case; None is UCF's
    naming, whose group is returned in lower case: `g07` of Billiards/v_Billards_G07_c02.avi.
    """
    match = re.search(pattern or _UCF, Path(clip).stem, re.IGNORECASE)
    return (match[1] if pattern else match[1].lower()) if match and match[1] else None


def describe_groups(groups: Mapping[str, str | None]) -> str:
    """Describe the group of each clip (None: unknown) in one line, with a warning without any."""
    n_groups = len({source_of(clip.split("/")[0], g or clip) for clip, g in groups.items()})
    line = f"{len(groups)} clips in {n_groups} groups"
    unknown = [clip for clip, group in groups.items() if group is None]
    if len(unknown) == len(groups):
        return (
            f"Warning: {line}: no name tells a group. Each clip counts as a source video of its "
            "own; where several are cut from one video, the figures will be too high. "
            "docs/own-data.md says how to name groups."
        )
    if unknown:
        line += f"; {len(unknown)} names tell no group, as {unknown[0]}: each is one of its own"
    return line


def write(videos: Path, segments: dict[str, Segment]) -> None:
    """Write `videos/segments.csv`."""
    rows = (
        (c, c.split("/")[0], s.group, s.source, seconds(s.start), seconds(s.end), s.fold, s.row)
        for c, s in segments.items()
    )
    files.write_csv(videos / FILE, COLUMNS, rows)


def seconds(value: float | None) -> str:
    """Write seconds to the millisecond, without needless zeros; None as nothing."""
    return "" if value is None else f"{value:.3f}".rstrip("0").rstrip(".")


def read(videos: Path) -> dict[str, Segment] | None:
    """Read `videos/segments.csv`; None where there is none. A damaged one is a `UserError`."""
    path = videos / FILE
    if not path.exists():
        return None
    types = dict.fromkeys(("clip", *Segment._fields), str) | {"start": float}
    types |= {"end": _or_none(float), "fold": _or_none(int), "row": _or_none(int)}
    rows = files.read_csv(path, types)
    return {row["clip"]: Segment(*(row[name] for name in Segment._fields)) for row in rows}


def _or_none(kind: type) -> Callable[[str], Any]:
    return lambda text: kind(text) if text.strip() else None


@lru_cache(maxsize=1)
def _read_once(videos: Path, changed: int) -> dict[str, Segment]:
    return read(videos) or {}


def locate(videos: Path, clip: str) -> tuple[Path, float, float | None]:
    """Return the video that a clip is in, with its start and end in seconds (None: its end)."""
    path = (videos / FILE).absolute()
    if not path.exists():
        return videos / clip, 0.0, None
    segment = _read_once(path.parent, path.stat().st_mtime_ns).get(clip)
    if segment is None:
        raise UserError(f"The clip {clip} is not in {videos / FILE}. Run `dvc repro extract`.")
    return videos / segment.source, segment.start, segment.end
