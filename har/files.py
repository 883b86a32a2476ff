"""Work in progress: `.work/`, outside the outputs, and outputs that appear whole or not at all.

DVC deletes a stage's outputs when the stage starts, so nothing that should survive a kill may
live there. What lives here is keyed by a digest of all it depends on and so is never stale.
"""

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import platformdirs

from har.errors import UserError

ROOT = Path(".work")


def cache_folder() -> Path:
    """Return the folder of what fresh clones on this machine share: `HAR_CACHE`, or the user's."""
    return Path(os.environ.get("HAR_CACHE") or platformdirs.user_cache_path("har"))


def digest(*parts: Any) -> str:
    """Return a 16-digit hexadecimal key of `parts`: what `json` can write, files, modules.

    A `Path` counts with the bytes of the file it names, a module with those of its source.
    """
    key = hashlib.sha256()
    for part in parts:
        if isinstance(part, ModuleType):
            part = Path(str(part.__file__))
        if isinstance(part, Path):
            key.update(file_sha256(part).encode())
        else:
            key.update(json.dumps(part, sort_keys=True, default=str).encode())
        key.update(b"\0")
    return key.hexdigest()[:16]


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder(*names: str) -> Path:
    """Return the folder `.work/<names…>`, made if it is not there."""
    path = ROOT.joinpath(*names)
    path.mkdir(parents=True, exist_ok=True)
    return path


def clean(names: Sequence[str] = ()) -> dict[str, int]:
    """Remove what is in `.work/`, or the parts of it named.

    Returns:
        The bytes that became free, by part. Files that outputs share through hard links are
        removed and free nothing.

    Raises:
        UserError: there is no such part.
    """
    found = {path.name: path for path in sorted(ROOT.iterdir())} if ROOT.is_dir() else {}
    for name in names:
        if name not in found:
            raise UserError(
                f"Expected a part of {ROOT}: {', '.join(found) or 'there is none'}. "
                f"Received: {name}."
            )
    freed = {}
    for name in names or found:
        path = found[name]
        files = [path, *path.rglob("*")]
        stats = [file.lstat() for file in files if file.is_symlink() or not file.is_dir()]
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
        freed[name] = sum(stat.st_size for stat in stats if stat.st_nlink == 1)
    return freed


def publish(finished: Path, output: Path) -> None:
    """Make `output` the finished file or folder, by rename: whole or not at all."""
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.is_dir() and not output.is_symlink():
        # A folder cannot be renamed over another: step aside first, delete afterwards.
        old = folder("replaced") / f"{output.name}-{os.getpid()}"
        shutil.rmtree(old, ignore_errors=True)
        output.rename(old)
        finished.rename(output)
        shutil.rmtree(old)
    else:
        finished.replace(output)


def write_text(output: Path, text: str) -> None:
    """Write `text` to `output` as UTF-8 with LF line ends: whole or not at all."""
    output.parent.mkdir(parents=True, exist_ok=True)
    part = output.with_name(f".{output.name}.part")
    part.write_text(text, encoding="utf-8", newline="\n")
    part.replace(output)


def write_csv(output: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a table as CSV (UTF-8, LF line ends, RFC 4180 quotes): whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(output, text.getvalue())
