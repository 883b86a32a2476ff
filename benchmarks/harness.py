"""What the benchmarks share: options, turns, the printed report, time and the machine."""

import argparse
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def parser(doc: str) -> argparse.ArgumentParser:
    """Return a parser of options; `doc` is the docstring of the script."""
    return argparse.ArgumentParser(description=doc.splitlines()[0])


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
        print(title)
        self._print("", columns)

    def row(self, name: str, *values: float | None) -> None:
        """Print a row; `None` is an empty cell."""
        pairs = zip(values, self._columns.values(), strict=True)
        self._print(name, ["" if value is None else format(value, form) for value, form in pairs])

    def ratio(self, name: str, value: float) -> None:
        """Print a ratio on a line of its own."""
        print(f"{name}: {value:.2f}", flush=True)

    def _print(self, name, cells) -> None:
        widths = [max(len(heading), 8) + 2 for heading in self._columns]
        line = "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        print(f"{name:22}{line}", flush=True)


def multiply_adds_per_s(dtype: str) -> float:
    """Return the rate of a large matrix product: the limit of networks in this process."""
    import keras

    on_gpu = keras.distribution.list_devices()[0].startswith("gpu")
    side = 8192 if on_gpu else 2048
    square = keras.ops.ones((side, side), dtype)
    times = []
    for _ in range(4):
        start = time.perf_counter()
        for _ in range(8):
            product = keras.ops.matmul(square, square)
        # Waits for the last result alone: to wait for each takes a GPU as long as a call.
        float(product[0, 0])
        times.append((time.perf_counter() - start) / 8)
    return side**3 / min(times)


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
