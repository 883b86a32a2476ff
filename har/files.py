"""Outputs that appear whole or not at all, and `.work/`, the folder of work in progress.

DVC deletes a stage's outputs when it starts, so what has to survive a kill lives in `.work/`. Names
there contain a digest of everything the content depends on.
"""

import contextlib
import csv
import hashlib
import io
import json
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import platformdirs
import psutil

from har.errors import UserError, run

ROOT = Path(".work")


def cache_folder() -> Path:
    """Return the folder that all clones on this machine share: `HAR_CACHE`, or the user's cache."""
    if chosen := os.environ.get("HAR_CACHE"):
        return Path(chosen)
    try:
        return platformdirs.user_cache_path("har")
    except RuntimeError:  # a container without a home
        return ROOT.absolute() / "cache"


def digest(*parts: Any) -> str:
    """Return 16 hexadecimal digits of JSON values; a `Path` stands for the content of its file."""
    key = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            key.update(file_sha256(part).encode())
        else:
            key.update(json.dumps(part, sort_keys=True, default=os.fspath).encode())
        key.update(b"\0")
    return key.hexdigest()[:16]


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder(*names: str) -> Path:
    """Return the folder `.work/<names…>`; make it if it does not exist."""
    path = ROOT.joinpath(*names)
    path.mkdir(parents=True, exist_ok=True)
    return path


def run_stage(stage: Callable[[], object]) -> NoReturn:
    """Run `stage` as `errors.run` does, but not beside a process of the same command.

    A DVC that is killed leaves such a process; its number is in `.work/running/`.
    """

    def alone() -> None:
        lock, this = folder("running") / digest(sys.argv), psutil.Process()
        with contextlib.suppress(OSError, ValueError, psutil.Error):  # it has ended
            other = psutil.Process(int(lock.read_text()))
            if other != this and other.cmdline()[1:] == this.cmdline()[1:]:
                raise UserError(
                    f"`{' '.join(sys.argv)}` still runs as process {other.pid}. End it with "
                    f"`kill {other.pid}` and run the same command again: it continues."
                )
        write_text(lock, str(this.pid))
        stage()

    run(alone)


def publish(finished: Path, output: Path) -> None:
    """Move a finished file or folder to `output`, whole or not at all; on another disk too.

    After an `OSError` both are as they were.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    # A rename works within one disk only. So the last step is always a rename beside `output`.
    beside = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    old, new = beside / "old", beside / "new"
    try:
        shutil.move(finished, new)
        if output.is_dir() and not output.is_symlink():
            output.rename(old)  # a folder cannot be renamed over another
        new.replace(output)
    except OSError:
        if old.exists():
            old.rename(output)
        if new.exists():
            shutil.move(new, finished)
        raise
    finally:
        shutil.rmtree(beside)


def link(source: Path, output: Path, *, symbolic: bool = False) -> None:
    """Make `output` the file `source`, whole or not at all: a hard link, else a copy.

    With `symbolic` a symbolic link comes before the copy.
    """
    source = source.resolve()
    output.parent.mkdir(parents=True, exist_ok=True)
    part = output.with_name(f".{output.name}.{secrets.token_hex(4)}")
    try:
        for make in (os.link, os.symlink)[: 1 + symbolic]:
            with contextlib.suppress(OSError):  # another file system, or one without links
                make(source, part)
                break
        else:
            shutil.copyfile(source, part)
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)


def write_bytes(output: Path, data: bytes) -> None:
    """Write `data`, whole or not at all, even if another process writes the same file."""
    output.parent.mkdir(parents=True, exist_ok=True)
    part = output.with_name(f".{output.name}.{secrets.token_hex(4)}")
    try:
        part.write_bytes(data)
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)


def write_text(output: Path, text: str) -> None:
    """Write `text` as UTF-8 with LF line ends, whole or not at all."""
    write_bytes(output, text.encode("utf-8"))


def write_json(output: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(output, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def rounded(value: Any) -> Any:
    """Return a JSON value with all its floats to four decimals."""
    return json.loads(json.dumps(value), parse_float=lambda text: round(float(text), 4))


def write_csv(output: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a table as CSV (UTF-8, LF line ends, RFC 4180 quotes), whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(output, text.getvalue())


def damaged(path: Path, reason: object) -> UserError:
    """Return the error for a file of ours that does not hold what it should."""
    return UserError(f"{path} is damaged: {reason}. Run `dvc repro` to make it.")


def read_table(path: Path, columns: Iterable[str] = ()) -> tuple[list[str], list[list[str]]]:
    """Read the header and rows of a CSV table; a `UserError` names what is wrong with it."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = csv.reader(file, strict=True)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist. Run `dvc repro` to make it.") from None
    except (ValueError, csv.Error) as error:
        raise damaged(path, "it is empty" if "unpack" in str(error) else error) from None
    for name in columns:
        if name not in header:
            raise damaged(path, f"it has no column {name}")
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise damaged(path, f"row {number} has {len(row)} fields")
    return header, rows


def read_csv(path: Path, types: Mapping[str, Callable[[str], Any]]) -> list[dict[str, Any]]:
    """Read a CSV table as `read_table` does; return one dict a row.

    The table has the columns `types`, whose values are converted; others stay text.
    """
    header, rows = read_table(path, types)
    try:
        columns = [(name, types.get(name, str)) for name in header]
        return [{n: to(text) for (n, to), text in zip(columns, row, strict=True)} for row in rows]
    except ValueError as error:
        raise damaged(path, error) from None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object that a stage wrote; raise a `UserError` where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError("it holds no object")
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} does not exist. Run `dvc repro` to make it.") from None
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from None
    return value
