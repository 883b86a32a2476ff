"""A worker process: calls one function with what comes in on a pipe, sends back what it returns.

`har.clips.processes` starts it. It imports the standard library and what the function needs, nothing
else, since on many small clips its start is a good part of the whole.
"""

import faulthandler
import os
import pickle
import signal
import sys
import traceback
from typing import BinaryIO

COMMAND = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from har.clips import worker; worker.serve()"
)
"""Python code of a worker: first comes the path to import from, then what `serve` reads."""
HANGS = 1
"""Exit code of a worker whose function took too long; the C library ends it with this."""


def serve() -> None:
    """Read a function, answer; then read its arguments, call and answer until the pipe ends.

    Each call comes as (arguments, seconds) and gives (True, result) or (False, exception).
    """
    calls, answers = _pipes()
    # Ctrl-C reaches every process of the terminal; the parent ends us when it has seen it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    function = pickle.load(calls)  # noqa: S301 (from our parent alone)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    _send(answers, True)
    while True:
        try:
            arguments, seconds = pickle.load(calls)  # noqa: S301
        except EOFError:
            return
        # Ends the process even when C code hangs with the interpreter's lock.
        faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
        try:
            answer = (True, function(*arguments))
        except Exception as error:
            error.add_note(f"In a worker process:\n{traceback.format_exc()}")
            answer = (False, error)
        faulthandler.cancel_dump_traceback_later()
        _send(answers, answer)


def _pipes() -> tuple[BinaryIO, BinaryIO]:
    """Keep the pipes for ourselves: what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return sys.stdin.buffer, answers


def _send(answers: BinaryIO, message: object) -> None:
    pickle.dump(message, answers)
    answers.flush()
