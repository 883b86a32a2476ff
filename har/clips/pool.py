"""Decode many files at once: in processes of this machine, or on a Dask cluster.

`HAR_JOBLIB_BACKEND=dask` takes the cluster of `HAR_DASK_SCHEDULER`; there a decoder that crashes or
hangs stops its worker. On this machine it costs its file alone. Workers import this module, so it
imports little.
"""

import contextlib
import multiprocessing
import os
import queue
import signal
import sys
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import cv2
from pebble import ProcessExpired, ProcessPool

from har.clips import video
from har.errors import UserError

SECONDS = 300.0  # of patience; two more for each megabyte
ANSWER_SECONDS = 15  # for a scheduler to answer


class Job(NamedTuple):
    """Clips of one video to decode, and where each one's T·H·W·3 bytes go in an existing store."""

    path: Path
    spans: list[video.Span]
    shape: tuple[int, int, int]
    store: Path
    offsets: list[int]

    @property
    def patience(self) -> float:
        """Seconds after which the decoder counts as hanging."""
        return SECONDS + 2 * self.path.stat().st_size / 1e6


# Of each clip its facts with the pixels' CRC-32, or why nothing decodes; or why that is so of all.
Result = list[tuple[video.VideoFacts, int] | str] | str
Decoder = Callable[[Mapping[str, Job]], Iterator[tuple[str, Result]]]


def decode(job: Job) -> Result:
    """Write the frames of clips into a store, where other processes write at the same time."""
    cv2.setNumThreads(1)  # clips are decoded side by side, a core each
    try:
        clips = video.read_spans(job.path, job.spans, *job.shape)
    except video.UnreadableVideoError as error:
        return str(error)
    except FileNotFoundError:
        return "gone during the run, or invisible to this worker"
    except PermissionError:
        return "cannot be read: permission denied"
    results: list[tuple[video.VideoFacts, int] | str] = []
    with job.store.open("r+b") as file:
        for clip, offset in zip(clips, job.offsets, strict=True):
            if isinstance(clip, str):
                results.append(clip)
                continue
            frames, facts = clip
            file.seek(offset)
            file.write(frames.data)
            results.append((facts, zlib.crc32(frames.data)))
    return results


def _named(name: str, job: Job) -> tuple[str, Result]:
    return name, decode(job)


@contextlib.contextmanager
def decoder(shared: Path, *, n_jobs: int = -1, n_files: int) -> Iterator[Decoder]:
    """Start at most `n_files` workers, which get ready while the caller prepares jobs.

    Every worker must see the folder `shared`. `n_jobs` are processes: -1 is one a core and two at
    least; 1 is this process, which a decoder that crashes then ends.

    Yields:
        A function of jobs by name, which yields the name and result of each in any order. It
        raises a `UserError` where workers are killed from outside or a cluster does not answer.
    """
    backend = os.environ.get("HAR_JOBLIB_BACKEND") or "processes"
    if backend not in ("processes", "dask"):
        raise UserError(
            f"Expected processes or dask in HAR_JOBLIB_BACKEND. Received: {backend}. "
            "Unset it to use all cores of this machine."
        )
    if backend == "dask":
        yield lambda jobs: _on_cluster(jobs, shared)
    elif n_jobs == 1:
        yield lambda jobs: (_named(*item) for item in jobs.items())
    else:
        import joblib

        n_workers = min(n_files, max(2, joblib.cpu_count()) if n_jobs == -1 else n_jobs)
        with contextlib.ExitStack() as pools:
            first = _start_pool(pools, n_workers)
            first.schedule(os.getpid)  # starts the processes
            yield lambda jobs: _in_processes(pools, first, n_workers, jobs)


# A fork server imports this module once, then each worker starts in milliseconds and without what
# this process has loaded: threads, Keras.
_START = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
_FOR_WORKERS = {
    # Else glibc gives large blocks back to the system after each frame; see mallopt(3).
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
    "OPENBLAS_NUM_THREADS": "1",  # its threads take half of the time that NumPy loads
}


class _Process(_START.Process):
    """A process that does not import the script that started this one."""

    @staticmethod
    def _Popen(process: Any) -> Any:  # noqa: N802 (multiprocessing's name)
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            return _START.Process._Popen(process)
        finally:
            sys.modules["__main__"] = main


class _Context(type(_START)):
    Process = _Process


def _start_pool(pools: contextlib.ExitStack, n_workers: int) -> ProcessPool:
    if os.name == "posix":
        _START.set_forkserver_preload([__name__])
        with video.environment(_FOR_WORKERS):
            forkserver.ensure_running()
    pool = ProcessPool(n_workers, context=_Context())
    pools.callback(pool.join)
    pools.callback(pool.stop)
    return pool


def _in_processes(
    pools: contextlib.ExitStack, first: ProcessPool, n_workers: int, jobs: Mapping[str, Job]
) -> Iterator[tuple[str, Result]]:
    suspects = []
    for name, result in _attempt(pools, first, n_workers, jobs):
        if isinstance(result, ProcessExpired):
            suspects.append(name)  # to try it again in a process of its own
        else:
            yield name, result
    for name in suspects:
        [(_, result)] = _attempt(pools, _start_pool(pools, 1), 1, {name: jobs[name]})
        yield name, _crash(name, result) if isinstance(result, ProcessExpired) else result


def _attempt(
    pools: contextlib.ExitStack, pool: ProcessPool, n_workers: int, jobs: Mapping[str, Job]
) -> Iterator[tuple[str, Result | ProcessExpired]]:
    """Yield each name with its result, or with the death of its process."""
    waiting = dict(jobs)
    for _ in range(3):
        futures = {}
        done: queue.SimpleQueue = queue.SimpleQueue()
        with contextlib.suppress(RuntimeError):  # the pool broke while it was idle
            for name, job in waiting.items():
                future = pool.schedule(decode, (job,), timeout=job.patience)
                futures[future] = name
                future.add_done_callback(done.put)
        while futures:
            try:
                future = done.get(timeout=1)
            except queue.Empty:
                if pool.active:
                    continue
                break  # pebble forgets what is scheduled while a pool breaks
            name = futures.pop(future)
            error = future.exception()
            if isinstance(error, BrokenProcessPool):
                continue  # a process ended before pebble knew its task
            job = waiting.pop(name)
            if isinstance(error, TimeoutError):
                yield name, f"the decoder hangs: no end after {job.patience:.0f} s"
            else:
                yield name, error if isinstance(error, ProcessExpired) else future.result()
        if not waiting:
            return
        pool.stop()
        pool = _start_pool(pools, n_workers)
    raise UserError("Worker processes end before they decode anything. See the lines above.")


def _crash(name: str, death: ProcessExpired) -> str:
    if abs(death.exitcode) in (signal.SIGKILL, signal.SIGTERM):
        raise UserError(
            f"The process that decodes {name} was killed twice, which the system does when memory "
            "is short. Free some memory and run the command again: it continues."
        )
    with contextlib.suppress(ValueError):
        return f"the decoder crashed ({signal.Signals(-death.exitcode).name})"
    return "the decoder crashed"


def _on_cluster(jobs: Mapping[str, Job], shared: Path) -> Iterator[tuple[str, Result]]:
    import joblib

    with _client() as client, joblib.parallel_config(backend="dask"):
        _check_workers(client, shared)
        parallel = joblib.Parallel(n_jobs=-1, return_as="generator_unordered", batch_size=1)
        yield from parallel(joblib.delayed(_named)(name, job) for name, job in jobs.items())


def _client() -> Any:
    address = os.environ.get("HAR_DASK_SCHEDULER", "")
    if not address:
        raise UserError(
            "Expected the address of a Dask scheduler in HAR_DASK_SCHEDULER, as tcp://host:8786. "
            "Received: nothing. Start one with `dask scheduler`, or unset HAR_JOBLIB_BACKEND."
        )
    try:
        from distributed import Client

        return Client(address, timeout=ANSWER_SECONDS)
    except ImportError:
        raise UserError(
            "HAR_JOBLIB_BACKEND=dask needs Dask. Install it: pip install 'har-lab[cluster]'."
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"No Dask scheduler answers at HAR_DASK_SCHEDULER={address} "
            f"({' '.join(str(error).split()) or type(error).__name__}). "
            "Start it with `dask scheduler`, workers with `dask worker`."
        ) from None


def _check_workers(client: Any, shared: Path) -> None:
    token = shared / uuid.uuid4().hex
    token.touch()
    try:
        seen = client.run(_exists, str(token))  # which a worker takes from its own har
    except Exception as error:
        raise UserError(
            f"A Dask worker lacks this version of har ({error}). Install it there."
        ) from None
    finally:
        token.unlink()
    if not seen:
        raise UserError(
            "The Dask scheduler has no workers. Start some: "
            f"dask worker {client.scheduler.address} --nthreads 1 --nworkers -1."
        )
    if blind := [worker for worker, exists in seen.items() if not exists]:
        raise UserError(
            f"Dask workers write their frames into a file in {shared}, which {', '.join(blind)} "
            "cannot read. Run from a folder that all machines mount at the same path."
        )


def _exists(path: str) -> bool:
    return Path(path).exists()
