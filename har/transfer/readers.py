"""Zip and tar archives, read with the standard library and written by nobody but us."""

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from har.transfer.members import Member, Sink, Write, broken

CHUNK = 1 << 20

_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
)


class ZipReader:
    """A zip archive: members come one by one, at no cost for the rest."""

    verifies = True

    def __init__(self, path: Path) -> None:
        """Open `path`."""
        self._path = path

    def members(self) -> list[Member]:
        """List the archive."""
        with _telling_damage(self._path), zipfile.ZipFile(self._path) as archive:
            return [self._member(info) for info in archive.infolist()]

    def unpack(self, sink: Sink) -> None:
        """Write each file for which `sink` returns a writer."""
        with _telling_damage(self._path), zipfile.ZipFile(self._path) as archive:
            for info in archive.infolist():
                if writer := sink(self._member(info)):
                    with writer as write, archive.open(info) as file:
                        pump(file, write)

    @staticmethod
    def _member(info: zipfile.ZipInfo) -> Member:
        mode = info.external_attr >> 16
        kind = "folder" if info.is_dir() else "file"
        if stat.S_ISLNK(mode):
            kind = "link"
        elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            kind = "device"
        elif info.flag_bits & 1:
            kind = "encrypted file"
        return Member(info.orig_filename, info.file_size, kind)


class TarReader:
    """A tar archive, plain or compressed, from a file or from a running program's output."""

    verifies = False  # tar has no checksum of its files

    def __init__(self, path: Path) -> None:
        """Open `path`."""
        self._path = path

    def members(self) -> list[Member]:
        """List the archive, which for a compressed one takes a whole pass over it."""
        with _telling_damage(self._path), tarfile.open(self._path) as archive:
            return [tar_member(info) for info in archive]

    def unpack(self, sink: Sink) -> None:
        """Write each file for which `sink` returns a writer."""
        with _telling_damage(self._path), tarfile.open(self._path) as archive:
            unpack_tar(archive, sink)
            while archive.fileobj.read(CHUNK):
                pass  # the checksums of gzip, bzip2 and xz are checked at their end


def unpack_tar(archive: tarfile.TarFile, sink: Sink) -> None:
    """Pass over an open tar archive, as `Reader.unpack`."""
    for info in archive:
        if info.isreg() and (writer := sink(tar_member(info))):
            with writer as write, archive.extractfile(info) as file:
                pump(file, write)


def tar_member(info: tarfile.TarInfo) -> Member:
    """Describe a member of a tar archive."""
    kind = "link" if info.issym() or info.islnk() else "device"
    if info.isreg() or info.isdir():
        kind = "file" if info.isreg() else "folder"
    return Member(info.name, info.size, kind)


def pump(file: IO[bytes], write: Write) -> None:
    """Copy a file to its end."""
    while chunk := file.read(CHUNK):
        write(chunk)


@contextmanager
def _telling_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise broken(path, error or type(error).__name__) from None
    except (OSError, RuntimeError) as error:
        # gzip's errors are OSErrors without a number, zipfile's of passwords RuntimeErrors.
        if getattr(error, "errno", None):
            raise
        raise broken(path, error) from None
