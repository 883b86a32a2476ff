"""RAR archives, versions 1.5 to 5, through the UnRAR library that `unrar2-cffi` bundles.

UnRAR decodes and this module writes. One pass decodes a solid archive (UCF101.rar) once; `rarfile`
opens one member at a time, in quadratic time.
"""

import os
import stat
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any

from unrar.cffi import unrarlib
from unrar.cffi.unrarlib import ffi

from har.errors import UserError
from har.transfer.archive import Member, broken

# Names and numbers of unrar.dll's interface (dll.hpp of the UnRAR source).
_LIST, _EXTRACT = 2, 1  # to skip a member of a solid archive, the second decodes it
_END_OF_ARCHIVE = 10
_CHANGE_VOLUME, _PROCESS_DATA, _CHANGE_VOLUME_W = 0, 1, 3
_VOLUME_IS_THERE = 1
_GO_ON, _STOP = 1, -1
_CONTINUED, _ENCRYPTED = 0x01, 0x04  # from the volume before; with a password
_ERRORS = {
    12: "damaged data",
    15: "a volume that is missing (the archive has several parts)",
    22: "a password, which is not known here",
    24: "a password, which is not known here",
}


class RarReader:
    """A RAR archive."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def members(self) -> list[Member]:
        """List the archive from its headers; what is cut short fails when it is extracted."""
        found = []
        for handle, header in self._headers(_LIST):
            if not header.Flags & _CONTINUED:
                found.append(_member(header))
            elif not found:
                raise broken(self._path, "a later volume of several; name the first")
            self._process(handle, unrarlib.C_RAR_SKIP)
        return found

    def extract(self, names: Container[str], part: Path) -> Iterator[str]:
        """Write the members `names` to `part`, one after the other, and yield each name."""
        for handle, header in self._headers(_EXTRACT):
            member = _member(header)
            if member.name not in names:
                self._process(handle, unrarlib.C_RAR_SKIP)
                continue
            with part.open("wb") as file:

                def write(chunk: bytes, file=file, size=member.size) -> None:
                    if file.tell() + len(chunk) > size:
                        raise broken(self._path, "a member with more bytes than listed")
                    file.write(chunk)

                self._process(handle, unrarlib.C_RAR_TEST, write)
            yield member.name

    def _headers(self, mode: int) -> Iterator[tuple[Any, Any]]:
        try:
            archive = unrarlib.RarArchive(self._path, mode)
        except unrarlib.BadRarFile as error:
            raise self._failure(error.code) from None
        with archive:
            header = unrarlib.RARHeaderDataEx()
            while (code := unrarlib.RARReadHeaderEx(archive.handle, header)) != _END_OF_ARCHIVE:
                if code:
                    raise self._failure(code)
                yield archive.handle, header
                header = unrarlib.RARHeaderDataEx()

    def _process(
        self, handle: Any, operation: int, write: Callable[[bytes], None] | None = None
    ) -> None:
        # The library's own callback answers every question with yes. This one says no where there
        # is no answer: a missing volume, a password, a dictionary of gigabytes.
        failure: list[BaseException] = []

        def answer(message: int, data: int, length: int) -> int:
            if message == _PROCESS_DATA and write:
                try:
                    write(bytes(ffi.buffer(ffi.cast("char *", data), length)))
                except BaseException as error:  # an exception cannot cross the C library
                    failure.append(error)
                    return _STOP
                return _GO_ON
            volume = message in (_CHANGE_VOLUME, _CHANGE_VOLUME_W) and length == _VOLUME_IS_THERE
            return _GO_ON if volume or message == _PROCESS_DATA else _STOP

        keep_alive = ffi.new_handle(answer)
        unrarlib.RARSetCallbackPtr(handle, unrarlib.PyUNRARCALLBACKStub, keep_alive)
        code = unrarlib.RARProcessFileW(handle, operation, ffi.NULL, ffi.NULL)
        unrarlib.RARSetCallbackPtr(handle, ffi.NULL, ffi.NULL)
        if failure:
            raise failure[0]
        if code:
            raise self._failure(code)

    def _failure(self, code: int) -> UserError:
        return broken(self._path, _ERRORS.get(code, f"UnRAR's error {code}"))


def _member(header: Any) -> Member:
    kind = "file"
    if header.RedirType or (header.HostOS == 3 and stat.S_ISLNK(header.FileAttr)):
        kind = "link"
    elif header.Flags & unrarlib.FLAGS_RHDF_DIRECTORY:
        kind = "folder"
    elif header.Flags & _ENCRYPTED:
        kind = "encrypted file"
    # UnRAR gives names with the separator of the system it runs on.
    name = ffi.string(header.FileNameW).replace(os.sep, "/")
    return Member(name, header.UnpSize + (header.UnpSizeHigh << 32), kind)
