"""One function on many files, in processes of this machine: one that dies costs one file.

Each process has a thread here that hands it files and takes its answers, so that it is always
known which file a process died over.
"""

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from har.clips import worker

AHEAD = 2
"""Files at a process at once: the one it is at and the next, so that it never waits for us."""
MEMORY = {
    # By default glibc gives large blocks back to the system at once, which then has to find and
    # zero their pages again for the next frame. See mallopt(3).
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
    # Threads that multiply matrices, of which we have none: half of the time that NumPy loads.
    "OPENBLAS_NUM_THREADS": "1",
}


class Job(NamedTuple):
    """Arguments of a call.

    Attributes:
        arguments: positional, picklable.
        seconds: after which the call counts as hanging.
    """

    arguments: tuple
    seconds: float


class Lost(NamedTuple):
    """Stands for the result of a file that killed its worker or never ended."""

    reason: str


class Crew:
    """Processes that load a function at once and call it later; a context manager."""

    def __init__(self, function: Callable[..., Any], n_processes: int) -> None:
        """Start `n_processes`.

        Args:
            function: importable by its name.
            n_processes: how many.
        """
        self._attendants = [_Attendant(function) for _ in range(n_processes)]

    def each(self, jobs: Mapping[str, Job]) -> Iterator[tuple[str, Any]]:
        """Call the function with the arguments of each job, in no order.

        The file that a process died over is tried once more, in a fresh process by itself: a
        process can also be killed for another's sake.

        Args:
            jobs: by name.

        Yields:
            The name and result of each job, a `Lost` where two processes died over it.

        Raises:
            RuntimeError: a process does not start.
            Exception: what the function raises.
        """
        waiting = deque(jobs)
        answers: queue.SimpleQueue = queue.SimpleQueue()
        threads = [
            threading.Thread(target=one.work, args=(jobs, waiting, answers), daemon=True)
            for one in self._attendants
        ]
        for thread in threads:
            thread.start()
        try:
            for _ in jobs:
                answer = answers.get()
                if isinstance(answer, Exception):
                    raise answer
                yield answer
        except BaseException:
            waiting.clear()
            self.__exit__()
            raise
        finally:
            for thread in threads:
                thread.join()

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_: object) -> None:
        for attendant in self._attendants:
            attendant.stop()


class _DiedError(Exception):
    """A process ended before it answered."""


class _Attendant:
    """Hands files that wait to a process of its own and puts down the answers, or an exception."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._process = _Process(function)
        self._stopped = False
        self._lock = threading.Lock()

    def work(
        self, jobs: Mapping[str, Job], waiting: deque[str], answers: queue.SimpleQueue
    ) -> None:
        """Work until no file waits."""
        try:
            while waiting:
                if suspect := self._hand_out(jobs, waiting, answers):
                    self._replace()
                    answers.put((suspect, self._alone(jobs[suspect])))
        except Exception as error:
            answers.put(error)

    def stop(self) -> None:
        """End the process, whatever it is at."""
        with self._lock:
            self._stopped = True
            self._process.kill()

    def _replace(self) -> None:
        with self._lock:
            if self._stopped:
                raise RuntimeError("stopped")
            self._process.kill()
            self._process = _Process(self._function)

    def _hand_out(
        self, jobs: Mapping[str, Job], waiting: deque[str], answers: queue.SimpleQueue
    ) -> str | None:
        """Hand out what waits until nothing does; return the file that the process died over."""
        self._process.wait_for_start()
        handed: deque[str] = deque()  # and not answered yet
        while True:
            try:
                while len(handed) < AHEAD:
                    try:
                        handed.append(waiting.popleft())
                    except IndexError:
                        break
                    self._process.send(jobs[handed[-1]])
                if not handed:
                    return None
                answer = self._process.receive()
            except _DiedError:
                suspect = handed.popleft()
                waiting.extendleft(reversed(handed))
                return suspect
            answers.put((handed.popleft(), answer))

    def _alone(self, job: Job) -> Any:
        """Return the answer of a fresh process; where it dies too, have another one ready."""
        self._process.wait_for_start()
        try:
            self._process.send(job)
            return self._process.receive()
        except _DiedError:
            lost = Lost(_reason(self._process.exit_code(), job.seconds))
            self._replace()
            return lost


class _Process:
    """A process that runs `worker.serve`, and the pipes to it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._popen = subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", worker.COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**MEMORY, **os.environ},
        )
        self._started = False
        with contextlib.suppress(_DiedError):  # `wait_for_start` tells
            self._write(sys.path)
            self._write(function)

    def wait_for_start(self) -> None:
        """Wait until the process has loaded the function.

        Raises:
            RuntimeError: it ended instead.
        """
        if self._started:
            return
        try:
            self._started = self._read()
        except _DiedError:
            raise RuntimeError(
                f"A worker process ended with code {self.exit_code()} before its first file; "
                "standard error tells why."
            ) from None

    def send(self, job: Job) -> None:
        """Have the process call the function, after the calls sent before."""
        self._write(tuple(job))

    def receive(self) -> Any:
        """Wait for the first result that has not been received; raise what the call raised."""
        success, result = self._read()
        if not success:
            raise result
        return result

    def exit_code(self) -> int:
        """Wait for the end of a process that died."""
        return self._popen.wait()

    def kill(self) -> None:
        """End the process and wait until it has."""
        self._popen.kill()
        self._popen.wait()

    def _write(self, message: object) -> None:
        try:
            pickle.dump(message, self._popen.stdin)
            self._popen.stdin.flush()
        except OSError:
            raise _DiedError from None

    def _read(self) -> Any:
        try:
            return pickle.load(self._popen.stdout)  # noqa: S301 (from our child alone)
        except EOFError:
            raise _DiedError from None


def _reason(code: int, seconds: float) -> str:
    if code == worker.HANGS:
        return f"the decoder hangs: no end after {seconds:.0f} s"
    with contextlib.suppress(ValueError):
        return f"the decoder crashed ({signal.Signals(-code).name})"
    return "the decoder crashed"
