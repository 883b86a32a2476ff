"""Errors that a user can cause, as one line instead of a traceback."""

import errno
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

_ADVICE = {
    "ENOSPC EDQUOT EFBIG": "Free some space, or use another disk, and run the same command again",
    "EACCES EPERM EROFS": "Change its permissions, or use another place",
    "EMFILE": "Raise the limit (`ulimit -n 4096`) and run the same command again",
    "ENFILE": "Close other programs and run the same command again",
    "EIO ESTALE": "Check the disk, or the connection to it",
    "ENOENT": "Check that it exists",
    "ENOTDIR EISDIR EEXIST": "Move what has this name, or use another name",
    "ENAMETOOLONG": "Use a shorter name",
    "EXDEV": "Keep the project on one disk",
}


class UserError(Exception):
    """A mistake that the user can correct.

    The message of a wrong value says what was expected, then `Received: …`, then what to do.
    The message of a state (not installed, locked) is one sentence that says what is and what to do.
    """


def run(main: Callable[[], object]) -> NoReturn:
    """Run `main` and exit the process; every stage and command starts here.

    Exit codes: 0; 2 after a `UserError` or an error of the file system; 130 after Ctrl-C; 128 + n
    after signal n, SIGTERM or SIGHUP, which end the process so that temporary files are removed.
    """
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # Under nohup SIGHUP is ignored, and stays so.
        if number and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _terminate)
    try:
        main()
    except UserError as error:
        sys.exit(fail(error))
    except OSError as error:
        if (sentence := _sentence(error)) is None:
            raise
        sys.exit(fail(UserError(sentence)))
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command again to continue.", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)


def fail(error: UserError) -> int:
    """Print `error` on standard error; return exit code 2."""
    print(f"Error: {error}", file=sys.stderr)
    return 2


def _terminate(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _sentence(error: OSError) -> str | None:
    """Return what is wrong and what to do; `None` if `error` is not of the file system."""
    code = errno.errorcode.get(error.errno or 0)
    advice = next((text for codes, text in _ADVICE.items() if code in codes.split()), None)
    if advice is None:
        return None
    file = error.filename2 or error.filename
    place = f": {os.fsdecode(file)}" if isinstance(file, str | bytes | os.PathLike) else ""
    return f"{os.strerror(error.errno)}{place}. {advice}."
