"""What names and tables say of clips: their groups, and parts of long videos.

`data/fetched/segments.csv` is there where the clips come from a table (`har.datasets.table`): clips
are then parts of the videos in `data/fetched/_sources/`, not files of their own. Columns:

    clip    Class/stem_12.5-15.mp4: a unique name; there is no such file
    class   the folder of `clip`
    group   clips of one group share a source video and stand on one side of a split
    source  the video's file, _sources/stem.mp4, below data/fetched
    start   seconds from the start of the video
    end     seconds; empty: the end of the video
    fold    the fold that the table asks for, from 0; empty: none
    row     line of the table
"""

import csv
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

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


class Segment(NamedTuple):
    """A part of a video: path below `data/fetched`, seconds (None: to the end), group, fold."""

    source: str
    start: float
    end: float | None
    group: str
    fold: int | None = None
    row: int | None = None


def group_of(clip: str, pattern: str | None = None) -> str | None:
    """Return the group in the name of a clip's file, or None where it has none.

    Args:
        clip: a path.
        pattern: a regular expression with one group, searched regardless of case; None is UCF's
            naming, whose group is returned in lower case.

    Example:
        >>> group_of("Billiards/v_Billards_G07_c02.avi")
        'g07'
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
        (
            clip,
            clip.split("/")[0],
            s.group,
            s.source,
            *map(seconds, (s.start, s.end)),
            s.fold,
            s.row,
        )
        for clip, s in segments.items()
    )
    files.write_csv(videos / FILE, COLUMNS, rows)


def seconds(value: float | None) -> str:
    """Write seconds to the millisecond, without needless zeros; None as nothing."""
    return "" if value is None else f"{value:.3f}".rstrip("0").rstrip(".")


def read(videos: Path) -> dict[str, Segment] | None:
    """Read `videos/segments.csv`; None where there is none. A damaged one is a `UserError`."""
    path = videos / FILE
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {row["clip"]: _segment(row) for row in csv.DictReader(file, strict=True)}
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError, AttributeError, csv.Error) as error:
        raise UserError(f"{path} is damaged ({error!r}). Run `dvc repro fetch`.") from None


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


def _segment(row: dict[str, str]) -> Segment:
    end, fold, line = (row[name].strip() for name in ("end", "fold", "row"))
    return Segment(
        row["source"],
        float(row["start"]),
        float(end) if end else None,
        row["group"],
        int(fold) if fold else None,
        int(line) if line else None,
    )
