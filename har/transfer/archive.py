"""Archives of videos: what is in them, and the wanted files out of them, safely.

The format is told by the first bytes, never by the name. Every file is written under a hidden
name and renamed when it is whole, so what a kill leaves are whole files and one folder of
leftovers; the next call unpacks what is missing.
"""

import importlib
import importlib.util
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from har import files
from har.errors import UserError
from har.transfer import disk, members, programs, readers
from har.transfer.members import Member, Reader, Write

UNFINISHED = ".unpacking"

_MAGIC = (
    (0, b"Rar!\x1a\x07\x00", "rar"),
    (0, b"Rar!\x1a\x07\x01\x00", "rar"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"PK\x05\x06", "zip"),  # an empty one
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"\x1f\x8b", "tar"),  # gzip
    (0, b"BZh", "tar"),
    (0, b"\xfd7zXZ\x00", "tar"),
    (257, b"ustar", "tar"),
)


def sniff(path: Path) -> str:
    """Tell the format of an archive by its first bytes: `rar`, `zip`, `7z` or `tar`.

    Raises:
        UserError: it is none of these; a web page is called by its name.
    """
    with path.open("rb") as file:
        head = file.read(512)
    for offset, magic, name in _MAGIC:
        if head.startswith(magic, offset):
            return name
    page = head.lstrip().lower().startswith((b"<!doctype", b"<html"))
    what = "a web page (HTML)" if page else f"a file that begins with {head[:8]!r}"
    raise UserError(
        f"Expected an archive (RAR, zip, 7z or tar) in {path}. Received: "
        f"{what if head else 'an empty file'}. Get the archive anew, from its publisher."
    )


class Archive:
    """An archive, whatever its format."""

    def __init__(self, path: Path) -> None:
        """Look at `path`.

        Raises:
            UserError: it is no archive, or nothing here reads its format.
        """
        self.path = path
        self._reader = _reader(path)

    @cached_property
    def members(self) -> list[Member]:
        """Its members, checked.

        Raises:
            UserError: the archive is damaged or has a hostile member.
        """
        found = self._reader.members()
        if not found:
            raise members.broken(self.path, "no file in it")
        members.check(self.path, found)
        return found

    def unpack(
        self, destination: Path, place: Callable[[str], PurePosixPath | None]
    ) -> list[PurePosixPath]:
        """Unpack the wanted files, going on with what an earlier call left.

        Args:
            destination: a folder for these files alone.
            place: the path below `destination` for a member's name, or None to leave it out.

        Returns:
            The paths of the wanted files, in the archive's order.

        Raises:
            UserError: as `members`; two files have one place; the disk is full.
        """
        wanted = self._wanted(place)
        unfinished = destination / UNFINISHED
        self._begin(destination, unfinished)
        missing = {
            name: target
            for name, (target, size) in wanted.items()
            if not _is_whole(destination / target, size)
        }
        if missing:
            todo = sum(wanted[name][1] for name in missing)
            disk.check_free(destination, todo, f"unpack {self.path.name}")
            with tqdm(
                total=todo, desc=f"Unpacking {self.path.name}", unit="B", unit_scale=True
            ) as bar:
                self._pass(destination, unfinished, missing, bar)
        lost = [
            name
            for name, (target, size) in wanted.items()
            if not _is_whole(destination / target, size)
        ]
        if lost:
            raise members.broken(self.path, f"no data for {lost[0]}")
        shutil.rmtree(unfinished)
        return [target for target, _ in wanted.values()]

    def _wanted(
        self, place: Callable[[str], PurePosixPath | None]
    ) -> dict[str, tuple[PurePosixPath, int]]:
        wanted: dict[str, tuple[PurePosixPath, int]] = {}
        taken: dict[str, str] = {}
        for member in self.members:
            if member.kind != "file" or (target := place(member.name)) is None:
                continue
            key = members.same_file(target.as_posix())
            if key in taken:
                raise UserError(
                    f"Expected one file for {target} in {self.path}. Received: {taken[key]} and "
                    f"{member.name}. Remove one from the archive, or unpack it by hand and name "
                    "the folder with dataset.path."
                )
            taken[key] = member.name
            wanted[member.name] = (target, member.size)
        return wanted

    def _begin(self, destination: Path, unfinished: Path) -> None:
        """Keep what is in `destination` only where it comes from the archive as it is now."""
        facts = self.path.stat()
        stamp = f"{self.path.resolve()} {facts.st_size} {facts.st_mtime_ns}\n"
        note = unfinished / "archive.txt"
        if not (note.exists() and note.read_text(encoding="utf-8") == stamp):
            if destination.exists():
                shutil.rmtree(destination)
            files.write_text(note, stamp)

    def _pass(
        self, destination: Path, unfinished: Path, missing: dict[str, PurePosixPath], bar: tqdm
    ) -> None:
        finished: list[tuple[Path, Path]] = []

        @contextmanager
        def writing(member: Member, target: Path) -> Iterator[Write]:
            part = unfinished / f"{len(finished)}.part"
            with disk.telling_when_full(target), part.open("wb") as file:
                room = member.size

                def write(chunk: bytes) -> None:
                    nonlocal room
                    room -= len(chunk)
                    if room < 0:
                        raise members.broken(self.path, f"more bytes of {member.name} than listed")
                    file.write(chunk)
                    bar.update(len(chunk))

                yield write
            if room:
                raise members.broken(self.path, f"{room:,} bytes too few of {member.name}")
            finished.append((part, target))
            if self._reader.verifies:
                publish(*finished[-1])

        def publish(part: Path, target: Path) -> None:
            target.parent.mkdir(parents=True, exist_ok=True)
            part.replace(target)

        self._reader.unpack(
            lambda member: (
                writing(member, destination / missing[member.name])
                if member.name in missing
                else None
            )
        )
        if not self._reader.verifies:
            for part, target in finished:
                publish(part, target)


def _is_whole(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _reader(path: Path) -> Reader:
    match sniff(path):
        case "zip":
            return readers.ZipReader(path)
        case "tar":
            return readers.TarReader(path)
        case "rar" if _unrar_is_there():
            return importlib.import_module("har.transfer.rar").RarReader(path)
        case name:
            return programs.find(path, name)


def _unrar_is_there() -> bool:
    try:
        return importlib.util.find_spec("unrar.cffi") is not None
    except ModuleNotFoundError:
        return False
