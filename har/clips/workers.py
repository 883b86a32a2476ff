"""One function on many files, over processes or machines: a worker that dies costs one file.

`HAR_JOBLIB_BACKEND` names how: `processes` (of this machine, the default; see `har.clips.processes`) or
a backend of joblib: `dask` (the cluster whose scheduler `HAR_DASK_SCHEDULER` names), `loky`,
`threading` or `sequential`. Only with `processes` a decoder that crashes or hangs is found and
costs its file alone; with the others it shares the fate of its process.
"""

import contextlib
import functools
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import joblib

from har.clips import processes
from har.clips.processes import Job, Lost
from har.errors import UserError

__all__ = ["BACKENDS", "Each", "Job", "Lost", "backend", "crew"]

Each = Callable[[Mapping[str, Job]], Iterator[tuple[str, Any]]]
BACKENDS = ("processes", "loky", "dask", "threading", "sequential")
ANSWER_SECONDS = 15
BATCH = 8
"""Files handed out at once, at most: enough to make the handing-out cheap."""


def backend() -> str:
    """Return the backend that `HAR_JOBLIB_BACKEND` names.

    Raises:
        UserError: it is none of `BACKENDS`.
    """
    name = os.environ.get("HAR_JOBLIB_BACKEND") or "processes"
    if name not in BACKENDS:
        raise UserError(
            f"Expected one of {', '.join(BACKENDS)} in HAR_JOBLIB_BACKEND. Received: {name}. "
            "Unset it to use all cores of this machine."
        )
    return name


@contextlib.contextmanager
def crew(
    function: Callable[..., Any], shared: Path, *, n_jobs: int = -1, n_files: int
) -> Iterator[Each]:
    """Have workers get ready, who call `function` when there are jobs for them.

    Args:
        function: importable; it is called in other processes.
        shared: a folder that every worker must see; a cluster's workers are asked for it.
        n_jobs: processes; -1 is one a core and two at least; 1 is this process, which a crash
            then takes with it.
        n_files: more workers are not needed.

    Yields:
        A function of jobs by name, which yields the name and result of each in no order, a `Lost`
        where its worker died over it. It raises a `UserError` where the machines of the backend do
        not answer.

    Raises:
        UserError: the backend is unknown.
    """
    name = backend()
    if n_jobs == -1 and name != "dask":
        n_jobs = max(2, joblib.cpu_count())
    if name == "processes" and n_jobs != 1:
        with processes.Crew(function, min(n_jobs, n_files)) as started:
            yield started.each
    else:
        yield functools.partial(_by_joblib, name, function, shared, n_jobs)


def _by_joblib(
    name: str,
    function: Callable[..., Any],
    shared: Path,
    n_jobs: int,
    jobs: Mapping[str, Job],
) -> Iterator[tuple[str, Any]]:
    with contextlib.ExitStack() as stack:
        if name == "dask":
            n_jobs = stack.enter_context(_cluster(shared))
        stack.enter_context(
            joblib.parallel_config(backend="sequential" if name == "processes" else name)
        )
        pool = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1)
        for results in pool(_batches(function, jobs, n_jobs)):
            yield from results


def _batches(function: Callable[..., Any], jobs: Mapping[str, Job], n_jobs: int) -> Iterator[Any]:
    waiting = deque(jobs)
    while waiting:
        # Smaller towards the end, so that no worker is left with the rest alone.
        size = max(1, min(BATCH, len(waiting) // (4 * max(n_jobs, 1))))
        names = [waiting.popleft() for _ in range(size)]
        yield joblib.delayed(_call)(function, {name: jobs[name].arguments for name in names})


def _call(function: Callable[..., Any], batch: Mapping[str, tuple]) -> list[tuple[str, Any]]:
    return [(name, function(*arguments)) for name, arguments in batch.items()]


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
