"""What the benchmarks share: options, turns, the printed report, time and the machine."""

import argparse
import contextlib
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import psutil
from tqdm import tqdm

from har import files

T = TypeVar("T")


def parser(doc: str) -> argparse.ArgumentParser:
    """Return a parser of options with `--json`; `doc` is the docstring of the script."""
    made = argparse.ArgumentParser(description=doc.splitlines()[0])
    made.add_argument("--json", type=Path, metavar="PATH", help="also write the figures here")
    return made


def turns(ways: Mapping[str, Callable[[], T]], repeats: int) -> dict[str, list[T]]:
    """Call each way once a turn, so that other load meets all."""
    found: dict[str, list[T]] = {name: [] for name in ways}
    for _ in tqdm(range(repeats), desc="Measuring", disable=None, leave=False):
        for name, call in ways.items():
            found[name].append(call())
    return found


class Report:
    """The figures of a run; `columns` has the format of the figures by heading."""

    def __init__(self, title: str, columns: Mapping[str, str]) -> None:
        self._columns = columns
        self._found: dict[str, Any] = {"title": title, "rows": {}, "ratios": {}}
        print(title)
        self._print("", columns)

    def row(self, name: str, *values: float | None) -> None:
        """Print a row; `None` is an empty cell."""
        self._found["rows"][name] = dict(zip(self._columns, values, strict=True))
        pairs = zip(values, self._columns.values(), strict=True)
        self._print(name, ["" if value is None else format(value, form) for value, form in pairs])

    def ratio(self, name: str, value: float) -> None:
        """Print a ratio on a line of its own."""
        self._found["ratios"][name] = value
        print(f"{name}: {value:.2f}", flush=True)

    def write(self, path: Path | None) -> None:
        """Write all figures as JSON, where `--json` names a file."""
        if path:
            files.write_json(path, self._found)

    def _print(self, name, cells) -> None:
        widths = [max(len(heading), 8) + 2 for heading in self._columns]
        line = "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        print(f"{name:22}{line}", flush=True)


def machine(*packages: str) -> str:
    """Return a line about the machine and the versions of Python and of installed packages."""
    line = f"{len(os.sched_getaffinity(0))} cores of {_processor()}"
    if smi := shutil.which("nvidia-smi"):
        listed = [smi, "--query-gpu=name", "--format=csv,noheader"]
        gpus = subprocess.run(listed, capture_output=True, text=True, check=False)  # noqa: S603
        line = ", ".join([*gpus.stdout.splitlines(), line])
    versions = [f"{name} {metadata.version(name)}" for name in packages]
    return ", ".join([line, f"Python {platform.python_version()}", *versions])


def _processor() -> str:
    info = Path("/proc/cpuinfo")  # Linux alone has it
    found = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def processor_seconds() -> float:
    """Return the processor time of this process and of all that it started, ended or not."""
    # User and system time, of the process and of its children that ended.
    return sum(sum(one.cpu_times()[:4]) for one in _family(psutil.Process()))


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Return seconds and processor seconds of a call."""
    before, start = processor_seconds(), time.perf_counter()
    call()
    return time.perf_counter() - start, processor_seconds() - before


def _family(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []
