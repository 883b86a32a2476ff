"""`checksums.json`: the archives that were seen, where their publisher names no checksum.

The first download of such an archive records its size and SHA-256 here, at the root of the
project. Commit the file: from then on every download, yours and your colleagues', on any
connection and from any mirror, must have the same bytes. An entry overrides the tables of the
data sets; one that you write may leave the checksum out, and the next download adds it.
"""

import json
from pathlib import Path
from typing import NamedTuple

from har import files
from har.errors import UserError

FILE = Path("checksums.json")


class Known(NamedTuple):
    """What is known of an archive before it is downloaded.

    Attributes:
        n_bytes: its size; None where unknown.
        sha256: 64 lower-case hexadecimal digits; None where unknown.
        origin: who says so, for messages.
    """

    n_bytes: int | None = None
    sha256: str | None = None
    origin: str = ""


def recorded(name: str) -> Known | None:
    """Return what `checksums.json` says of the archive with the file name `name`.

    Raises:
        UserError: the file is not what `record` writes.
    """
    entry = _read().get(name)
    return Known(entry["bytes"], entry.get("sha256"), str(FILE)) if entry else None


def record(name: str, n_bytes: int, sha256: str) -> None:
    """Add an archive to `checksums.json` and say so."""
    entries = _read() | {name: {"bytes": n_bytes, "sha256": sha256}}
    files.write_text(FILE, json.dumps(entries, indent=2, sort_keys=True) + "\n")
    print(f"{FILE}: recorded the SHA-256 of {name}, {sha256}. Commit this file.")


def _read() -> dict[str, dict]:
    if not FILE.exists():
        return {}
    try:
        entries = json.loads(FILE.read_text(encoding="utf-8"))
        for name, entry in entries.items():
            if type(entry["bytes"]) is not int or entry["bytes"] < 1:
                raise ValueError(f"bytes of {name}")
            if "sha256" in entry:
                entry["sha256"] = entry["sha256"].lower()
                if len(bytes.fromhex(entry["sha256"])) != 32:
                    raise ValueError(f"sha256 of {name}")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f'Expected {{"<archive>": {{"bytes": …, "sha256": "…"}}}} in {FILE}. '
            f"Received: {type(error).__name__}: {error}. Restore the file from Git or delete it."
        ) from None
    return entries
