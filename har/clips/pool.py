"""Decode many files at once, in processes: a decoder that crashes or hangs costs its file alone.

Workers import this module, so it imports little.
"""

import contextlib
import multiprocessing
import os
import queue
import signal
import sys
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


@contextlib.contextmanager
def decoder(*, n_jobs: int = -1, n_files: int) -> Iterator[Decoder]:
    """Start at most `n_files` workers, which get ready while the caller prepares jobs.

    `n_jobs` are processes: -1 is one a core and two at least; 1 is this process, which a decoder
    that crashes then ends.

    Yields:
        A function of jobs by name, which yields the name and result of each in any order. It
        raises a `UserError` where workers are killed from outside.
    """
    if n_jobs == 1:
        yield lambda jobs: ((name, decode(job)) for name, job in jobs.items())
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
