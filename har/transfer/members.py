"""What an archive says it holds, and what of it is refused before a byte is written.

An archive comes from the net: its names and sizes are claims. One member that would land outside
the folder, one link or device, two members that would overwrite each other, or more bytes than
such an archive can honestly hold, and nothing of the archive is unpacked.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from har.errors import UserError
from har.transfer import disk

LARGEST = 100 << 30  # bytes in all; UCF101 has 7 GB
RATIO = 20  # unpacked to packed; video is compressed already, its ratio is about 1
SMALL = 256 << 20  # bytes up to which the ratio does not matter


@dataclass(frozen=True)
class Member:
    """An entry of an archive.

    Attributes:
        name: its path as the archive has it, with `/` between the parts.
        size: bytes when unpacked.
        kind: what it is; only files are ever written.
    """

    name: str
    size: int
    kind: Literal["file", "folder", "link", "device", "encrypted file"]


Write = Callable[[bytes], object]
Sink = Callable[[Member], AbstractContextManager[Write] | None]


class Reader(Protocol):
    """One format of archive.

    Attributes:
        verifies: whether it checks every file by itself, at the end of that file; else only the
            end of the whole archive tells that all was well.
    """

    verifies: bool

    def members(self) -> list[Member]:
        """List the archive."""

    def unpack(self, sink: Sink) -> None:
        """Pass over the archive; write each file for which `sink` returns a writer."""


def check(path: Path, members: Iterable[Member]) -> None:
    """Refuse an archive with a hostile member.

    Raises:
        UserError: names the first such member and what is wrong with it.
    """
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    total = 0
    for member in members:
        if problem := _problem(member):
            raise _refusal(path, f"{member.name!r}, {problem}")
        key = same_file(member.name)
        taken = files.get(key) or (member.kind == "file" and folders.get(key))
        if taken:
            raise _refusal(path, f"{taken!r} and {member.name!r}, which are one file on many disks")
        if member.kind == "file":
            files[key] = member.name
            total += member.size
        parents = key.split("/")[: None if member.kind == "folder" else -1]
        for depth in range(1, len(parents) + 1):
            folder = "/".join(parents[:depth])
            if folder in files:
                raise _refusal(path, f"{files[folder]!r}, a file, and {member.name!r} inside it")
            folders.setdefault(folder, member.name)
    packed = path.stat().st_size
    if total > LARGEST or total > max(SMALL, RATIO * packed):
        raise _refusal(
            path, f"{disk.gigabytes(total)} unpacked from {disk.gigabytes(packed)}, as bombs have"
        )


def same_file(name: str) -> str:
    """Return a key that names share when a disk that ignores case or accents' coding mixes them."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", "/".join(parts)).casefold())


def _problem(member: Member) -> str | None:
    if member.kind not in ("file", "folder"):
        return f"a{'n' if member.kind[0] in 'aeiou' else ''} {member.kind}"
    if member.name.startswith("/") or re.match("[A-Za-z]:", member.name):
        return "an absolute path"
    if ".." in member.name.split("/"):
        return "a path that leads out of the folder"
    if re.search(r"[\\:\x00-\x1f]", member.name) or not member.name.strip("/. "):
        return "a name with a backslash, a colon or a control character, or no name"
    if member.size < 0:
        return "a negative size"
    return None


def _refusal(path: Path, what: str) -> UserError:
    return UserError(
        f"Expected plain files with paths inside the archive {path}. Received: {what}. Nothing "
        "was unpacked; get the archive from its publisher."
    )


def broken(path: Path, reason: object) -> UserError:
    """Return the error for an archive that cannot be read to its end."""
    first = str(reason).strip().split("\n")[0].rstrip(":. ")
    return UserError(
        f"Expected a whole archive in {path}. Received: {first}. It is damaged or cut short: "
        "delete it and run again, or get it anew."
    )
