"""Room on the disk: looked for before a long job starts, and told in one line when it runs out."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from har.errors import UserError

MARGIN = 64 << 20  # bytes left free, for the file system and everyone else

# EFBIG is what a quota by `ulimit -f` and file systems of small files (FAT) answer.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_free(folder: Path, n_bytes: int, purpose: str) -> None:
    """Check that the disk of `folder` has room.

    Args:
        folder: an existing folder on that disk.
        n_bytes: what will be written.
        purpose: for the message, as `unpack UCF50.rar`.

    Raises:
        UserError: there is less room than that and a margin.
    """
    free = shutil.disk_usage(folder).free
    if free < n_bytes + MARGIN:
        raise UserError(
            f"Expected {gigabytes(n_bytes + MARGIN)} free on the disk of {folder} to {purpose}. "
            f"Received: {gigabytes(free)}. Free some space and run again."
        )


@contextmanager
def telling_when_full(path: Path) -> Iterator[None]:
    """Turn the errors of a full disk into a `UserError` that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise UserError(
            f"Expected room to write {path}. Received: {error.strerror}. Free some space (or raise "
            "the quota) and run again: it goes on where it stopped."
        ) from None


def gigabytes(n_bytes: int) -> str:
    """Write a number of bytes in GB.

    Example:
        >>> gigabytes(3_233_554_570)
        '3.23 GB'
    """
    return f"{n_bytes / 1e9:.2f} GB"
