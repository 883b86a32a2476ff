"""Archives that Python cannot read, through a program that can: unar, bsdtar or 7z.

The program only decodes: it writes to a pipe and creates no file, so no link and no path in a
hostile archive can make it touch anything. Argument lists, never a shell.
"""

import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from har.errors import UserError
from har.transfer import readers
from har.transfer.members import Member, Sink, Write, broken


class _Program:
    """Lists an archive, and writes the bytes of all its files, in that order, to a pipe."""

    verifies = False  # only the exit code, after the last file, tells that all was well

    def __init__(self, path: Path, *names: str) -> None:
        self._path = path
        self._names = names

    def members(self) -> list[Member]:
        raise NotImplementedError

    def _stream(self) -> tuple[str, ...]:
        raise NotImplementedError

    def unpack(self, sink: Sink) -> None:
        """Write each file for which `sink` returns a writer."""
        files = [member for member in self.members() if member.kind == "file"]
        with self._running(*self._stream()) as pipe:
            for member in files:
                if writer := sink(member):
                    with writer as write:
                        self._pass(pipe, member, write)
                else:
                    self._pass(pipe, member, lambda chunk: None)
            if pipe.read(1):
                raise broken(self._path, "more bytes than it lists")

    def _pass(self, pipe: IO[bytes], member: Member, write: Write) -> None:
        left = member.size
        while left:
            chunk = pipe.read(min(left, readers.CHUNK))
            if not chunk:
                raise broken(self._path, f"an end inside {member.name}")
            write(chunk)
            left -= len(chunk)

    @contextmanager
    def _running(self, program: str, *arguments: str) -> Iterator[IO[bytes]]:
        """Run a program on the archive, alone in a folder of its own; check that it succeeds.

        Alone, because unar takes UCF50.rar and UCF101.rar side by side for parts of one archive.
        """
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as errors:
            alone = Path(folder, "archive")
            try:
                alone.symlink_to(self._path.resolve())
            except OSError:  # Windows lets only some users make links
                alone = self._path.resolve()
            process = subprocess.Popen(  # noqa: S603 - a fixed program, no shell
                [shutil.which(program) or program, *arguments, *self._names_of(alone)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
            try:
                yield process.stdout
                process.stdout.read()
                code = process.wait()
            finally:
                process.kill()
                process.wait()
                process.stdout.close()
            if code:
                errors.seek(0)
                lines = errors.read().decode(errors="replace").split("\n")
                said = next((line.strip(" .") for line in reversed(lines) if line.strip()), "")
                raise UserError(
                    f"Expected {program} to read {self._path}. Received: exit code {code}; {said}. "
                    "The archive is damaged or cut short, or of a kind that this program does not "
                    "know: get it anew, or `pip install unrar2-cffi`."
                )

    def _names_of(self, archive: Path) -> tuple[str, ...]:
        return (str(archive),)

    def _read(self, *command: str) -> str:
        with self._running(*command) as pipe:
            return pipe.read().decode("utf-8", errors="surrogateescape")


class Unar(_Program):
    """The Unarchiver's `unar`, and `lsar`, which lists."""

    def members(self) -> list[Member]:
        """List the archive."""
        listing = json.loads(self._read("lsar", "-json"))
        if listing.get("lsarError"):
            raise broken(self._path, f"lsar's error {listing['lsarError']}")
        return [self._member(entry) for entry in listing["lsarContents"]]

    def _stream(self) -> tuple[str, ...]:
        return ("unar", "-quiet", "-output-directory", "-")

    @staticmethod
    def _member(entry: dict) -> Member:
        kind = "folder" if entry.get("XADIsDirectory") else "file"
        if entry.get("XADIsLink") or entry.get("XADIsHardLink"):
            kind = "link"
        elif entry.get("XADIsEncrypted"):
            kind = "encrypted file"
        return Member(entry["XADFileName"], entry.get("XADFileSize", 0), kind)


class SevenZip(_Program):
    """7-Zip, as `7z` or `7zz`; some distributions leave RAR out of it."""

    def members(self) -> list[Member]:
        """List the archive."""
        listing = self._read(self._names[0], "l", "-slt", "-ba", "-sccUTF-8", "-p", "--")
        blocks = re.split(r"\r?\n(?:\r?\n)+", listing.strip())
        return [
            self._member(dict(re.findall(r"^(.+?) = ?(.*?)\r?$", block, re.MULTILINE)))
            for block in blocks
            if block
        ]

    def _stream(self) -> tuple[str, ...]:
        return (self._names[0], "x", "-so", "-bd", "-p", "--")

    @staticmethod
    def _member(entry: dict[str, str]) -> Member:
        attributes = entry.get("Attributes", "")
        kind = "folder" if entry.get("Folder") == "+" or attributes.startswith("D") else "file"
        if entry.get("Symbolic Link") or entry.get("Hard Link") or " l" in attributes:
            kind = "link"
        elif entry.get("Encrypted") == "+":
            kind = "encrypted file"
        return Member(entry["Path"].replace("\\", "/"), int(entry.get("Size") or 0), kind)


class BsdTar(_Program):
    """libarchive's `bsdtar`, which rewrites any archive as a tar archive on its output."""

    def members(self) -> list[Member]:
        """List the archive, which takes a whole pass over it."""
        with self._tar() as archive:
            return [readers.tar_member(info) for info in archive]

    def unpack(self, sink: Sink) -> None:
        """Write each file for which `sink` returns a writer."""
        with self._tar() as archive:
            readers.unpack_tar(archive, sink)

    def _names_of(self, archive: Path) -> tuple[str, ...]:
        return (f"@{archive}",)

    @contextmanager
    def _tar(self) -> Iterator[tarfile.TarFile]:
        with self._running("bsdtar", "--format", "pax", "-cf", "-") as pipe:
            try:
                with tarfile.open(fileobj=pipe, mode="r|") as archive:
                    yield archive
            except tarfile.TarError as error:
                raise broken(self._path, f"what bsdtar cannot read ({error})") from None


def find(path: Path, kind: str = "rar") -> _Program:
    """Choose the program that reads `path`.

    Args:
        path: the archive.
        kind: `rar` or `7z`.

    Raises:
        UserError: there is none; names the packages that bring one. Or the archive is one part
            of several: the programs fill up what is missing with zeros and report success.
    """
    if kind == "rar" and _is_volume(path):
        raise UserError(
            f"Expected a whole archive in {path}. Received: one part of several. Run `pip install "
            "unrar2-cffi`, or unpack the parts by hand and name the folder with dataset.path."
        )
    if shutil.which("unar") and shutil.which("lsar"):
        return Unar(path)
    if shutil.which("bsdtar"):
        return BsdTar(path)
    for name in ("7z", "7zz"):
        if shutil.which(name):
            return SevenZip(path, name)
    raise UserError(
        f"Expected a program that unpacks {path.name}. Received: none of unrar2-cffi, unar, bsdtar "
        "and 7z. Run `pip install unrar2-cffi`, or install unar or libarchive-tools (Debian, "
        "Ubuntu), unar (Homebrew) or bsdtar (Fedora)."
    )


def _is_volume(path: Path) -> bool:
    """Tell whether a RAR archive is a part of several, by the flags of its main header."""
    with path.open("rb") as file:
        head = file.read(64)
    if head[6] == 0:  # version 4: marker, 2 bytes of CRC, type, flags
        return bool(head[10:11]) and bool(head[10] & 1)
    # Version 5: marker, 4 bytes of CRC, then numbers of 7 bits a byte: size, type, flags of the
    # header, size of the extra area where those say so, flags of the archive.
    numbers: list[int] = []
    value = shift = 0
    for byte in head[12:]:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(value)
            value, shift = 0, 0
    return len(numbers) > 4 and bool(numbers[4 if numbers[2] & 1 else 3] & 1)
