"""A table of clips: `dataset.path` names a CSV file with the columns path and class.

Optional columns: group (clips of one source or person), start and end (seconds of a long video),
fold (from 0). Relative paths are relative to the table. Each video is linked once below
`_sources/`; `segments.csv` says which parts are clips.
"""

import csv
import math
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from har.clips import segments
from har.clips.segments import SOURCES, Segment, is_junk
from har.clips.store import counts_in_class
from har.datasets import folder
from har.errors import UserError
from har.params import DatasetParams

NEEDED = ("path", "class")
OPTIONAL = ("group", "start", "end", "fold")


def fetch(params: DatasetParams, destination: Path) -> None:
    """Link the videos of the table `params.path` into `destination` and write `segments.csv` there.

    A `UserError` names the row that cannot be; `extract` finds parts that are beyond their video.
    """
    rows = list(_rows(params.path))
    wanted = folder.chosen(params.classes, {row["class"] for _, row in rows}, str(params.path))
    sources: dict[Path, str] = {}  # file to its name below `_sources/`
    found: dict[str, Segment] = {}
    taken: set[str] = set()  # names of sources (without `/`) and of clips
    seen: dict[tuple[Path, float, float | None], tuple[str, str]] = {}
    for n, row in rows:
        where, label = f"{params.path}, row {n}", row["class"]
        if label not in wanted:
            continue
        path = _find(params.path.parent, row["path"], where)
        video = path.resolve()  # its identity; a link's target may have any name
        start = _seconds(row["start"], f"{where}, start") or 0.0
        end = _seconds(row["end"], f"{where}, end")
        if end is not None and end <= start:
            raise _wrong(where, f"end after start ({start:g} s)", f"{end:g}")
        if (video, start, end) in seen:
            before, other = seen[video, start, end]
            what = f"that of {before} again" + (f", as {other} there" if other != label else "")
            raise _wrong(where, "every segment once, in one class", what)
        seen[video, start, end] = where, label
        if video not in sources:
            sources[video] = _unique(folder.nfc(path.name), taken)
        source = sources[video]
        stem, ending = Path(source).stem, Path(source).suffix
        if start or end is not None:
            stem += f"_{segments.seconds(start)}-{segments.seconds(end) or 'end'}"
        group = row["group"]
        if counts_in_class(group):
            group = f"group {group}"  # of all classes, as every group of a table
        group = group or segments.group_of(source, params.group_pattern) or source
        if row["fold"] and not row["fold"].isdecimal():
            raise _wrong(where, "a fold from 0", row["fold"])
        clip = _unique(f"{label}/{stem}{ending}", taken)
        fold = int(row["fold"]) if row["fold"] else None
        found[clip] = Segment(f"{SOURCES}/{source}", start, end, group, fold, n)
    folder.link_all({f"{SOURCES}/{name}": video for video, name in sources.items()}, destination)
    segments.write(destination, found)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    # The line of a row and its columns, stripped and in NFC, '' where there is none.
    columns = f"{', '.join(NEEDED)} and optionally {', '.join(OPTIONAL)}"
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restkey="", restval="", strict=True)
            header = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = header
            if missing := [name for name in NEEDED if name not in header]:
                raise _wrong(
                    f"{path}, header",
                    f"the columns {columns}, separated by commas",
                    f"{', '.join(header) or 'nothing'}, without {', '.join(missing)}",
                )
            if unknown := [name for name in header if name not in NEEDED + OPTIONAL]:
                print(f"{path}: the columns {', '.join(unknown)} are not used ({columns} are).")
            empty = True
            for row in reader:
                empty, where = False, f"{path}, row {reader.line_num}"
                if "" in row:
                    raise _wrong(where, f"{len(header)} columns", f"more: {row['']}")
                cells = {name: folder.nfc((row.get(name) or "").strip()) for name in OPTIONAL}
                cells |= {"class": folder.nfc(row["class"].strip()), "path": row["path"].strip()}
                label = cells["class"]
                if not label or label.startswith(".") or set(label) & set('/\\:\0\n"'):
                    raise _wrong(where, "a class that can be a folder's name", label or "nothing")
                if is_junk(label):
                    raise _wrong(where, "another class, as this name is left out", label)
                yield reader.line_num, cells
            if empty:
                raise _wrong(str(path), "a row for each clip", "the header alone")
    except FileNotFoundError:
        raise UserError(
            f"dataset.path: expected a table of clips. Received: {path}, which does not exist. "
            "Correct the path."
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _wrong(str(path), "a CSV file in UTF-8", error) from None


def _find(root: Path, name: str, where: str) -> Path:
    for form in (name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))):
        if name and (path := root / form).is_file():
            return path
    raise _wrong(where, "a video's path, relative to the table", f"{name or 'nothing'}: no file")


def _seconds(text: str, where: str) -> float | None:
    if not text:
        return None
    try:
        value = round(float(text), 3)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise _wrong(where, "seconds, as 12.5", text)
    return value


def _unique(name: str, taken: set[str]) -> str:
    ending, number = Path(name).suffix, 1
    stem = name.removesuffix(ending)
    while name.casefold() in taken:
        number += 1
        name = f"{stem}-{number}{ending}"
    taken.add(name.casefold())
    return name


def _wrong(where: str, expected: str, received: object) -> UserError:
    return UserError(f"{where}: expected {expected}. Received: {received}. Correct the table.")
