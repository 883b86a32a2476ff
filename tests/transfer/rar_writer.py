"""RAR 5 archives of stored (uncompressed) members, by the format's technical note (rarlab.com)."""

import zlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    name: str
    data: bytes = b""
    link: str | None = None  # a Unix symbolic link to there
    folder: bool = False
    goes_on: bool = False  # in the next volume
    continued: bool = False  # from the volume before
    claims: int | None = None  # bytes, where they are not those of the data
    crc: int | None = None  # the same


def write(*entries: Entry, volume: int | None = None, more: bool = True) -> bytes:
    """Return the bytes of an archive, or of a volume counted from 0 with `more` to come."""
    number = [] if volume is None else [1] if volume == 0 else [3, volume]
    blocks = [_block(1, 0, number or [0])]
    for entry in entries:
        extra = b""
        if entry.link is not None:
            target = entry.link.encode()
            record = _numbers(5, 1, 0, len(target)) + target
            extra = _numbers(len(record)) + record
        name = entry.name.encode()
        size = len(entry.data) if entry.claims is None else entry.claims
        mode = 0o120777 if entry.link is not None else 0o40755 if entry.folder else 0o100644
        fields = _numbers(1 if entry.folder else 4, size, mode)
        if not entry.folder:
            fields += (zlib.crc32(entry.data) if entry.crc is None else entry.crc).to_bytes(
                4, "little"
            )
        fields += _numbers(0, 1, len(name)) + name
        blocks.append(
            _block(
                2,
                entry.goes_on * 0x10 | entry.continued * 0x08,
                fields=fields,
                extra=extra,
                data=entry.data,
            )
        )
    blocks.append(_block(5, 0, [int(volume is not None and more)]))
    return b"Rar!\x1a\x07\x01\x00" + b"".join(blocks)


def _block(
    kind: int,
    flags: int,
    numbers: list[int] | None = None,
    *,
    fields: bytes = b"",
    extra: bytes = b"",
    data: bytes = b"",
) -> bytes:
    flags |= (1 if extra else 0) | (2 if kind == 2 else 0)
    head = _numbers(kind, flags)
    head += _numbers(len(extra)) if extra else b""
    head += _numbers(len(data)) if kind == 2 else b""
    head += _numbers(*(numbers or [])) + fields + extra
    head = _numbers(len(head)) + head
    return zlib.crc32(head).to_bytes(4, "little") + head + data


def _numbers(*values: int) -> bytes:
    result = bytearray()
    for value in values:
        while value > 0x7F:
            result.append(value & 0x7F | 0x80)
            value >>= 7
        result.append(value)
    return bytes(result)
