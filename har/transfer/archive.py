"""Unpack the wanted files of a zip or RAR archive, safely.

An archive with a link, a device or a path that leads outside is refused as a whole. A file gets its
name when it is whole, so after a kill the next call unpacks the rest.
"""

import importlib
import re
import shutil
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from tqdm import tqdm

from har import files
from har.errors import UserError
from har.transfer.download import check_free, is_web_page

UNFINISHED = ".unpacking"
_ZIP_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


class Member(NamedTuple):
    """An entry of an archive."""

    name: str  # path with `/`
    size: int  # bytes when unpacked
    kind: str  # file, folder, link, device, encrypted file


class Archive:
    """A zip or RAR archive."""

    def __init__(self, path: Path) -> None:
        """Open `path`; a member that would lie outside, or is no plain file, is an error."""
        self.path = path
        self._reader = _reader(path)
        self.members: list[Member] = self._reader.members()
        if not self.members:
            raise broken(path, "no file in it")
        for member in self.members:
            if problem := _problem(member):
                raise UserError(
                    f"Expected plain files with paths inside the archive {path}. Received: "
                    f"{member.name!r}, {problem}. Nothing was unpacked; get the archive from its "
                    "publisher."
                )

    def unpack(
        self, destination: Path, place: Callable[[str], PurePosixPath | None]
    ) -> list[PurePosixPath]:
        """Unpack the wanted files into a folder of their own; return their paths below it.

        `place` gives that path for a member's name, or None to leave it out. A later call goes on
        with what an earlier one left.
        """
        wanted: dict[str, tuple[PurePosixPath, int]] = {}
        taken: dict[str, str] = {}
        for name, size, kind in self.members:
            if kind != "file" or (target := place(name)) is None:
                continue
            # One file on disks that ignore case or the coding of accents.
            key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", str(target)).casefold())
            if key in taken:
                raise UserError(
                    f"Expected one file for {target} in {self.path}. Received: {taken[key]} and "
                    f"{name}. Nothing was unpacked; unpack the archive by hand and name the "
                    "folder with dataset.path."
                )
            taken[key] = name
            wanted[name] = (target, size)

        def missing() -> list[str]:
            sizes = {name: (destination / target, size) for name, (target, size) in wanted.items()}
            return [n for n, (p, s) in sizes.items() if not p.is_file() or p.stat().st_size != s]

        unfinished = destination / UNFINISHED
        self._begin(destination, unfinished)
        if names := set(missing()):
            n_bytes = sum(wanted[name][1] for name in names)
            check_free(destination, n_bytes, f"unpack {self.path.name}")
            what, part = f"Unpacking {self.path.name}", unfinished / "part"
            with tqdm(total=n_bytes, desc=what, unit="B", unit_scale=True) as bar:
                for name in self._reader.extract(names, part):
                    target = destination / wanted[name][0]
                    target.parent.mkdir(parents=True, exist_ok=True)
                    part.replace(target)
                    bar.update(wanted[name][1])
        if lost := missing():
            raise broken(self.path, f"not all bytes of {lost[0]}")
        shutil.rmtree(unfinished)
        return [target for target, _ in wanted.values()]

    def _begin(self, destination: Path, unfinished: Path) -> None:
        facts, note = self.path.stat(), unfinished / "archive.txt"
        stamp = f"{self.path.resolve()} {facts.st_size} {facts.st_mtime_ns}\n"
        if not (note.exists() and note.read_text(encoding="utf-8") == stamp):
            shutil.rmtree(destination, ignore_errors=True)  # it comes from another archive
            files.write_text(note, stamp)


def broken(path: Path, reason: object) -> UserError:
    """Return the error for an archive that cannot be read to its end."""
    first = (str(reason).strip() or type(reason).__name__).split("\n")[0].rstrip(":. ")
    return UserError(
        f"Expected a whole archive in {path}. Received: {first}. It is damaged or cut short: "
        "delete it and run again, or get it again."
    )


class _ZipReader:
    """A zip archive, by the standard library."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def members(self) -> list[Member]:
        with self._open() as archive:
            return [
                Member(info.orig_filename, info.file_size, _kind(info.external_attr >> 16, info))
                for info in archive.infolist()
            ]

    def extract(self, names: Container[str], part: Path) -> Iterator[str]:
        # Write the members `names` to `part`, one after the other, and yield each name.
        with self._open() as archive:
            for info in archive.infolist():
                if info.orig_filename in names:
                    with archive.open(info) as source, part.open("wb") as file:
                        shutil.copyfileobj(source, file)
                    yield info.orig_filename

    @contextmanager
    def _open(self) -> Iterator[zipfile.ZipFile]:
        try:
            with zipfile.ZipFile(self._path) as archive:
                yield archive
        except _ZIP_DAMAGE as error:
            raise broken(self._path, error) from None


def _reader(path: Path) -> Any:
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):  # the second: an empty one
        return _ZipReader(path)
    if head.startswith((b"Rar!\x1a\x07\x00", b"Rar!\x1a\x07\x01\x00")):
        try:
            return importlib.import_module("har.transfer.rar").RarReader(path)
        except ModuleNotFoundError:
            raise UserError(
                f"{path} is a RAR archive, and the package unrar2-cffi, which reads it, is not "
                "installed (it has none for Linux on ARM). Unpack the archive by hand, with unar "
                "for example, and name the folder with dataset.path."
            ) from None
    what = "a web page (HTML)" if is_web_page(head) else f"a file that begins with {head[:8]!r}"
    raise UserError(
        f"Expected a RAR or zip archive in {path}. Received: {what if head else 'an empty file'}. "
        "Get the archive again from its publisher."
    )


def _kind(mode: int, info: zipfile.ZipInfo | None = None) -> str:
    if stat.S_ISLNK(mode):
        return "link"
    if stat.S_ISDIR(mode) or (info and info.is_dir()):
        return "folder"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "device"
    return "encrypted file" if info and info.flag_bits & 1 else "file"


def _problem(member: Member) -> str | None:
    if member.kind not in ("file", "folder"):
        return f"a{'n' if member.kind[0] in 'aeiou' else ''} {member.kind}"
    if member.name.startswith("/") or re.match("[A-Za-z]:", member.name):
        return "an absolute path"
    if ".." in member.name.split("/"):
        return "a path that leads out of the folder"
    if re.search(r"[\\:\x00-\x1f]", member.name) or not member.name.strip("/. "):
        return "a name with a backslash, a colon or a control character, or no name"
    return None
