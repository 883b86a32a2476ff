"""UCF101's official splits: three pairs of lists, `trainlist01.txt` and `testlist01.txt` and so on.

A train list has lines `Class/clip.avi 3` with the class counted from 1, a test list lines
`Class/clip.avi` without it. Both numbers and labels are left alone here: the class is the
folder's name. Lists and folders disagree about case (`HandStandPushups`), so case is ignored.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from har import files
from har.errors import UserError

COLUMNS = ("clip", "official_1", "official_2", "official_3")
LISTS = {f"{use}list0{i}.txt": (use, i - 1) for i in (1, 2, 3) for use in ("train", "test")}
FILES = frozenset(LISTS)


class Row(NamedTuple):
    """A row of official.csv: `train`, `test`, or '' for a clip in neither list."""

    clip: str
    official_1: str
    official_2: str
    official_3: str


def rows(clips: Sequence[str], texts: Mapping[str, str]) -> list[Row]:
    """Look the clips up in the lists.

    Args:
        clips: paths `Class/clip.ext`.
        texts: the six lists, by file name.

    Returns:
        One row a clip, in their order.

    Raises:
        UserError: a list is missing, a line is no clip, a clip is in both lists of a split, or
            none of the clips is in any list.
    """
    if missing := sorted(FILES - set(texts)):
        raise UserError(
            f"Expected the lists {', '.join(sorted(FILES))}. Received: none named "
            f"{', '.join(missing)}. Delete the archive of the lists and run again."
        )
    sides: dict[str, list[str]] = {}
    for name in sorted(FILES):
        use, split = LISTS[name]
        for line in texts[name].splitlines():
            if not line.strip():
                continue
            clip = line.split()[0]
            if clip.count("/") != 1:
                raise UserError(
                    f"Expected lines `Class/clip.avi` in {name}. Received: {line!r}. Delete the "
                    "archive of the lists and run again."
                )
            entry = sides.setdefault(_key(clip), ["", "", ""])
            if entry[split] not in ("", use):
                raise UserError(
                    f"Expected every clip on one side of official split {split + 1}. Received: "
                    f"{clip} on both. Delete the archive of the lists and run again."
                )
            entry[split] = use
    found = [Row(clip, *sides.get(_key(clip), ("", "", ""))) for clip in clips]
    if not any(row.official_1 or row.official_2 or row.official_3 for row in found):
        raise UserError(
            f"Expected clips of the official lists, as {next(iter(sides), 'Class/clip')}. "
            f"Received: {len(clips)} clips, none of them listed. Name UCF101 with dataset.path."
        )
    return found


def write(path: Path, table: Sequence[Row]) -> None:
    """Write official.csv; for a data set without official splits, its header alone."""
    files.write_csv(path, COLUMNS, table)


def _key(clip: str) -> str:
    # A repacked data set may have another container than the lists' .avi.
    return str(PurePosixPath(clip).with_suffix("")).casefold()
