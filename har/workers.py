"""One function on many files, over processes or machines: a worker that dies costs one file.

joblib spreads the work. `HAR_JOBLIB_BACKEND` names how: `loky` (processes of this machine, the
default), `dask` (the cluster whose scheduler `HAR_DASK_SCHEDULER` names), or joblib's
`threading` and `sequential`. Only with `loky` a decoder that crashes or hangs
is found and costs its file alone; with the others it shares the fate of its process.
"""

import contextlib
import faulthandler
import functools
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import joblib
from joblib.externals import loky

from har.errors import UserError

BACKENDS = ("loky", "dask", "threading", "sequential")
ANSWER_SECONDS = 15
BATCH = 8
"""Files handed out at once, at most: enough to make the handing-out cheap."""


class Lost(NamedTuple):
    """Stands for the result of a file that killed its worker or never ended."""

    reason: str


class Job(NamedTuple):
    """Arguments of a call.

    Attributes:
        arguments: positional, picklable.
        seconds: after which the call counts as hanging.
    """

    arguments: tuple
    seconds: float


def backend() -> str:
    """Return the joblib backend that `HAR_JOBLIB_BACKEND` names.

    Raises:
        UserError: it is none of `BACKENDS`.
    """
    name = os.environ.get("HAR_JOBLIB_BACKEND") or "loky"
    if name not in BACKENDS:
        raise UserError(
            f"Expected one of {', '.join(BACKENDS)} in HAR_JOBLIB_BACKEND. Received: {name}. "
            "Unset it to use all cores of this machine."
        )
    return name


def each(
    function: Callable[..., Any], jobs: Mapping[str, Job], shared: Path, *, n_jobs: int = -1
) -> Iterator[tuple[str, Any]]:
    """Call `function` with the arguments of each job, in no order.

    Args:
        function: importable; it is called in other processes.
        jobs: by name.
        shared: a folder that every worker must see; a cluster's workers are asked for it.
        n_jobs: processes; -1 is one a core and two at least; 1 is this process, which a crash
            then takes with it.

    Yields:
        The name and result of each job, a `Lost` where its worker died over it.

    Raises:
        UserError: the backend is unknown, not installed, or its machines do not answer.
    """
    name = backend()
    guard = name == "loky" and n_jobs != 1
    if n_jobs == -1 and name != "dask":
        n_jobs = max(2, joblib.cpu_count())
    with contextlib.ExitStack() as stack:
        if name == "dask":
            n_jobs = stack.enter_context(_cluster(shared))
        stack.enter_context(joblib.parallel_config(backend=name))
        waiting = deque(jobs)
        while waiting:
            out: dict[str, None] = {}  # handed to workers, no answer yet
            pool = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1)
            try:
                for results in pool(_batches(function, jobs, waiting, out, n_jobs, guard)):
                    for key, result in results:
                        del out[key]
                        yield key, result
            except loky.BrokenProcessPool:
                if not out or not guard:
                    raise
                # One of these is the culprit; which one shows when each runs by itself.
                yield from _one_by_one(function, {key: jobs[key] for key in list(out)})


def _batches(
    function: Callable[..., Any],
    jobs: Mapping[str, Job],
    waiting: deque[str],
    out: dict[str, None],
    n_jobs: int,
    guard: bool,
) -> Iterator[Any]:
    while waiting:
        # Smaller towards the end, so that no worker is left with the rest alone.
        size = max(1, min(BATCH, len(waiting) // (4 * max(n_jobs, 1))))
        batch = {}
        for _ in range(size):
            key = waiting.popleft()
            out[key] = None
            batch[key] = jobs[key]
        yield joblib.delayed(_call)(function, batch, guard)


def _call(
    function: Callable[..., Any], batch: Mapping[str, Job], guard: bool
) -> list[tuple[str, Any]]:
    results = []
    for key, job in batch.items():
        if guard:
            # Ends the process even when C code hangs with the interpreter's lock.
            faulthandler.dump_traceback_later(job.seconds, exit=True, file=_nowhere())
        results.append((key, function(*job.arguments)))
        if guard:
            faulthandler.cancel_dump_traceback_later()
    return results


@functools.cache
def _nowhere() -> int:
    return os.open(os.devnull, os.O_WRONLY)


def _one_by_one(function: Callable[..., Any], jobs: Mapping[str, Job]) -> Iterator[tuple[str, Any]]:
    pool = _process(function)
    try:
        for key, job in jobs.items():
            try:
                result = pool.submit(function, *job.arguments).result(timeout=job.seconds)
            except (TimeoutError, loky.BrokenProcessPool) as error:
                pool.shutdown(kill_workers=True)
                pool = _process(function)
                result = Lost(_reason(error, job.seconds))
            yield key, result
    finally:
        pool.shutdown(kill_workers=True)


def _process(function: Callable[..., Any]) -> loky.ProcessPoolExecutor:
    pool = loky.ProcessPoolExecutor(max_workers=1)
    pool.submit(_call, function, {}, False).result()  # its start is not the file's time
    return pool


def _reason(error: Exception, seconds: float) -> str:
    if isinstance(error, TimeoutError):
        return f"the decoder hangs: no end after {seconds:.0f} s"
    signal = re.search(r"\b(SIG[A-Z]+)\b", str(error).rsplit("exit codes", 1)[-1])
    return f"the decoder crashed ({signal[1]})" if signal else "the decoder crashed"


@contextlib.contextmanager
def _cluster(shared: Path) -> Iterator[int]:
    """Connect to the Dask cluster; yield its number of threads.

    Raises:
        UserError: Dask is not installed, no scheduler answers, or its workers cannot work.
    """
    address = os.environ.get("HAR_DASK_SCHEDULER", "")
    if not address:
        raise UserError(
            "Expected the address of a Dask scheduler in HAR_DASK_SCHEDULER, as tcp://host:8786. "
            "Received: nothing. Start one with `dask scheduler`, or unset HAR_JOBLIB_BACKEND."
        )
    try:
        from distributed import Client
    except ImportError as error:
        raise UserError(
            f"Expected Dask for HAR_JOBLIB_BACKEND=dask. Received: {error}. "
            "Install it: pip install 'har[cluster]'."
        ) from None
    try:
        client = Client(address, timeout=ANSWER_SECONDS)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"Expected a Dask scheduler at HAR_DASK_SCHEDULER={address}. "
            f"Received: no answer ({' '.join(str(error).split()) or type(error).__name__}). "
            "Start it with `dask scheduler`, workers with `dask worker`."
        ) from None
    with client:
        threads = client.nthreads()
        if not threads:
            raise UserError(
                f"Expected workers at the Dask scheduler {address}. Received: none. "
                f"Start some: dask worker {address} --nthreads 1 --nworkers -1."
            )
        _ask(client, shared)
        yield sum(threads.values())


def _ask(client: Any, shared: Path) -> None:
    """Raise a `UserError` where a worker has no `har` or does not see the folder `shared`."""
    token = shared / "token"
    token.write_text(os.urandom(16).hex())
    try:
        seen = client.run(_read, str(token))
    except Exception as error:
        raise UserError(
            f"Expected this version of har on every Dask worker. Received: {error}. "
            "Install it there."
        ) from None
    blind = [worker for worker, text in seen.items() if text != token.read_text()]
    token.unlink()
    if blind:
        raise UserError(
            f"Expected every Dask worker to see {shared}: workers write their frames straight "
            f"into a file there. Received: {', '.join(sorted(blind))} does not. "
            "Run from a folder of a file system that all machines mount at the same path."
        )


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text()
    except OSError:
        return None
