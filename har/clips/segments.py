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
"""

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from har import files
from har.errors import UserError

FILE = "segments.csv"
COLUMNS = ("clip", "class", "group", "source", "start", "end", "fold")
_UCF = r"_(g\d+)_c\d+$"


class Segment(NamedTuple):
    """A part of a video: path below `data/fetched`, seconds (None: to the end), group, fold."""

    source: str
    start: float
    end: float | None
    group: str
    fold: int | None = None


def group_of(clip: str, pattern: str | None = None) -> str | None:
    """Return the group in a clip's name, or None where the name has none.

    Args:
        clip: a path; only the file's name without its ending counts.
        pattern: a regular expression with one group, searched in it regardless of case; None is
            UCF's naming, whose group is returned in lower case.

    Example:
        >>> group_of("Billiards/v_Billards_G07_c02.avi")
        'g07'
        >>> group_of("Wave/anna-3.mp4", "^([a-z]+)-")
        'anna'
    """
    match = re.search(pattern or _UCF, Path(clip).stem, re.IGNORECASE)
    return (match[1] if pattern else match[1].lower()) if match and match[1] else None


def describe_groups(groups: Mapping[str, str | None]) -> str:
    """Describe the groups of clips in one line, with a warning where no clip has one.

    Args:
        groups: each clip's group; None where it is unknown.
    """
    # A group number counts within its class, as in UCF50.
    n_groups = len({(clip.split("/")[0], group or clip) for clip, group in groups.items()})
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
        (clip, clip.split("/")[0], s.group, s.source, *map(seconds, (s.start, s.end)), s.fold)
        for clip, s in segments.items()
    )
    files.write_csv(videos / FILE, COLUMNS, rows)


def seconds(value: float | None) -> str:
    """Write seconds to the millisecond, without needless zeros; None as nothing."""
    return "" if value is None else f"{value:.3f}".rstrip("0").rstrip(".")


def read(videos: Path) -> dict[str, Segment] | None:
    """Read `videos/segments.csv`; None where there is none.

    Raises:
        UserError: the table is damaged.
    """
    path = videos / FILE
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {row["clip"]: _segment(row) for row in csv.DictReader(file, strict=True)}
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError, AttributeError, csv.Error) as error:
        raise UserError(f"{path} is damaged ({error!r}). Run `dvc repro fetch`.") from None


def _segment(row: dict[str, str]) -> Segment:
    end, fold = row["end"].strip(), row["fold"].strip()
    return Segment(
        row["source"],
        float(row["start"]),
        float(end) if end else None,
        row["group"],
        int(fold) if fold else None,
    )
