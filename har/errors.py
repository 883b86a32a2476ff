"""Mistakes of the user, told in one line instead of a traceback."""

import sys
from collections.abc import Callable
from typing import NoReturn


class UserError(Exception):
    """A mistake that the user can mend.

    The message says what was expected, then `Received: …`, then what to do.
    """


def run(main: Callable[[], None]) -> NoReturn:
    """Run `main` and leave the process: 0, 2 after a `UserError`, 130 after Ctrl-C."""
    try:
        main()
    except UserError as error:
        sys.exit(fail(error))
    except KeyboardInterrupt:
        print(
            "\nInterrupted. Run the same command again: it goes on where it stopped.",
            file=sys.stderr,
        )
        sys.exit(130)
    sys.exit(0)


def fail(error: UserError) -> int:
    """Print `error` on standard error and return the exit code of a user's mistake."""
    print(f"Error: {error}", file=sys.stderr)
    return 2
