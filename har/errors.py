"""Errors that a user can cause, as one line instead of a traceback."""

import errno
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from typing import NoReturn

_ADVICE = {
    "ENOSPC EDQUOT EFBIG": "Free some space, or use another disk, and run the same command again",
    "EACCES EPERM EROFS": "Change its permissions, or use another place",
    "EMFILE ENFILE": "Raise the limit (`ulimit -n 4096`) and run the same command again",
    "EIO ESTALE": "Check the disk, or the connection to it",
    "ENOENT": "Check that it exists",
    "ENOTDIR EISDIR EEXIST ENAMETOOLONG": "Move what has this name, or use another name",
    "EXDEV": "Keep the project on one disk",
}


class UserError(Exception):
    """A mistake that the user can correct.

    The message of a wrong value says what was expected, then `Received: …`, then what to do.
    The message of a state (not installed, locked) is one sentence that says what is and what to do.
    """


def run(main: Callable[[], object]) -> NoReturn:
    """Run `main` and exit the process; every stage and command starts here.

    Exit codes: 0; 2 after a `UserError`, an error of the file system or a killed worker process;
    130 after Ctrl-C; 128 + n after signal n, SIGTERM or SIGHUP, which end the process so that
    temporary files are removed.
    """
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # Under nohup SIGHUP is ignored, and stays so.
        if number and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        main()
    except (UserError, BrokenExecutor, OSError) as error:
        if (sentence := _sentence(error)) is None:
            raise
        print(f"Error: {sentence}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command again to continue.", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)


def _sentence(error: UserError | BrokenExecutor | OSError) -> str | None:
    """Return what is wrong and what to do; `None` for an `OSError` not of the file system."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, BrokenExecutor):
        return "A worker process was killed. Free some memory and run the same command again."
    code = errno.errorcode.get(error.errno or 0)
    advice = next((text for codes, text in _ADVICE.items() if code in codes.split()), None)
    if advice is None:
        return None
    file = error.filename2 or error.filename
    place = f": {os.fsdecode(file)}" if isinstance(file, str | bytes | os.PathLike) else ""
    return f"{os.strerror(error.errno)}{place}. {advice}."
