"""Extraction beside the tutorial's way and beside the limit of the machine.

Command: python benchmarks/extract.py CLIPS_DIR [--repeats 3] [--repeat-to N] [--json PATH]
Inputs: CLIPS_DIR, a folder of Class/clip.ext.
Cost: two minutes for 370 clips of UCF50's kind on 2 cores.

Each way runs in a Python process of its own, in turns; the median counts. The clock starts when the
modules are imported and stops at the result; starting worker processes is included. All ways give
20 frames of 64 × 64.

- `tutorial`: for each frame `CAP_PROP_POS_FRAMES` to i · (frames // 20), read, resize, divide by
  255 into lists of float64, one process.
- `har`: `har.clips.extraction.extract` with an empty scratch folder.
- `limit`: one process a core decodes every frame (OpenCV's `grab`, which does not convert) and does
  nothing else. `limit, warm` is without the start of the processes.
- `PyAV`: every frame decoded, the same 20 scaled by FFmpeg, one process a core.

`CPU s` is the processor time of all processes: other load on the machine changes it less than the
clock. `peak MB` is the highest memory of all processes together (PSS).

`--repeat-to N` extracts N clips instead, links to those of CLIPS_DIR: each link is decoded.
"""

import argparse
import functools
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import harness
import joblib
import numpy as np
import psutil

from har.clips import extraction, video
from har.errors import UserError, run

SHAPE = (20, 64, 64)
COLUMNS = {"clips/s": ",.1f", "x tutorial": ".1f", "of the limit": ".2f"}
COLUMNS |= {"CPU s": ".1f", "peak MB": ",.0f"}


def main() -> None:
    """Measure and print a table."""
    parser = harness.parser(__doc__)
    parser.add_argument("folder", type=Path, metavar="CLIPS_DIR", help="Class/clip.ext")
    parser.add_argument("--repeats", type=harness.count, default=3, help="turns of each way")
    parser.add_argument("--repeat-to", type=harness.count, metavar="N", help="extract N links")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.folder.absolute()
    names = extraction.list_videos(folder)
    if options.way:
        _child(options.way, folder, names)
    elif options.repeat_to:
        _grow(options, names)
    else:
        _compare(options, names)


def _compare(options: argparse.Namespace, names: list[str]) -> None:
    folder = options.folder.absolute()
    for name in names:
        (folder / name).read_bytes()  # into the file cache, for all ways alike
    chosen = [way for way in WAYS if way != "PyAV" or importlib.util.find_spec("av")]
    ways = {way: functools.partial(_measure, way, folder) for way in chosen}
    runs = harness.turns(ways, options.repeats)
    runs["limit, warm"] = [
        r | {"seconds": r["warm_s"], "cpu_s": r["warm_cpu_s"]} for r in runs["limit"]
    ]
    title = f"{len(names)} clips, {runs['limit'][0]['frames']:,} frames"
    report = harness.Report(
        f"{title}; {harness.machine('opencv-python-headless', 'joblib')}", COLUMNS
    )
    rates = {
        way: len(names) / statistics.median(r["seconds"] for r in found)
        for way, found in runs.items()
    }
    for way, rate in rates.items():
        cpu_s = statistics.median(r["cpu_s"] for r in runs[way])
        peak_mb = max(r["peak_mb"] for r in runs[way])
        report.row(way, rate, rate / rates["tutorial"], rate / rates["limit"], cpu_s, peak_mb)
    report.write(options.json)


def _grow(options: argparse.Namespace, names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as links:
        for i in range(options.repeat_to):
            clip = Path(names[i % len(names)])
            link = Path(links) / clip.with_name(f"{i // len(names)}_{clip.name}")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to((options.folder / clip).absolute())
        found = _measure("har", Path(links))
    title = f"{options.repeat_to:,} clips; {harness.machine('opencv-python-headless', 'joblib')}"
    report = harness.Report(title, {"clips/s": ",.1f", "peak MB": ",.0f"})
    report.row("har", options.repeat_to / found["seconds"], found["peak_mb"])
    report.write(options.json)


def _measure(way: str, folder: Path) -> dict[str, float]:
    """Run one way in a process of its own, in an empty folder; return its figures."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path[1:])}
    command = [sys.executable, str(Path(__file__).resolve()), str(folder), "--way", way]
    with (
        tempfile.TemporaryDirectory() as scratch,
        subprocess.Popen(  # noqa: S603 (this script)
            command, cwd=scratch, env=environment, stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        root, peak = psutil.Process(process.pid), 0.0
        while process.poll() is None:
            peak = max(peak, harness.memory_mb(root))
            time.sleep(0.2)
        printed = process.stdout.read()
    if process.returncode:
        raise UserError(f"The process of {way} ended with exit code {process.returncode}.")
    return {**json.loads(printed.splitlines()[-1]), "peak_mb": peak}


def _child(way: str, folder: Path, names: list[str]) -> None:
    """Run one way and print its figures as a line of JSON."""
    figures: dict[str, float] = {}

    def go() -> None:
        figures.update(WAYS[way](folder, [folder / name for name in names]))

    seconds, cpu_s = harness.timed(go)
    seconds -= figures.get("warm_s", 0)
    cpu_s -= figures.get("warm_cpu_s", 0)
    print(json.dumps({"seconds": seconds, "cpu_s": cpu_s, **figures}))


def _tutorial(_: Path, clips: list[Path]) -> dict[str, float]:
    count, height, width = SHAPE
    features = []
    for clip in clips:
        frames = []
        capture = cv2.VideoCapture(str(clip))
        skip = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT) / count), 1)
        for i in range(count):
            capture.set(cv2.CAP_PROP_POS_FRAMES, i * skip)
            decoded, frame = capture.read()
            if not decoded:
                break
            frames.append(cv2.resize(frame, (height, width)) / 255)
        capture.release()
        if len(frames) == count:
            features.append(frames)
    return {"clips": len(np.asarray(features))}


def _har(folder: Path, _: list[Path]) -> dict[str, float]:
    return {"clips": len(extraction.extract(folder, SHAPE, Path("frames.h5"))[0])}


def _limit(_: Path, clips: list[Path]) -> dict[str, float]:
    frames = sum(_spread(_grab, clips))
    warm_s, warm_cpu_s = harness.timed(lambda: _spread(_grab, clips))  # the processes wait
    return {"warm_s": warm_s, "warm_cpu_s": warm_cpu_s, "frames": frames}


def _grab(clip: Path) -> int:
    capture = cv2.VideoCapture(str(clip), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    n = 0
    while capture.grab():
        n += 1
    return n


def _pyav(_: Path, clips: list[Path]) -> dict[str, float]:
    return {"clips": sum(len(frames) == SHAPE[0] for frames in _spread(_read_by_pyav, clips))}


def _read_by_pyav(clip: Path) -> np.ndarray:
    import av

    count, height, width = SHAPE
    with av.open(str(clip)) as file:
        stream = file.streams.video[0]
        stream.thread_type, stream.thread_count = "SLICE", 1
        frames = list(file.decode(stream))
    picked = [frames[i] for i in video.even_indices(len(frames), count)]
    small = (frame.reformat(width, height, "rgb24", interpolation="AREA") for frame in picked)
    return np.stack([frame.to_ndarray() for frame in small])


def _spread(function: Callable, clips: list[Path]) -> list[Any]:
    """Call `function` on every clip, one process a core, eight clips at a time."""
    pool = joblib.Parallel(n_jobs=joblib.cpu_count(), batch_size=8, pre_dispatch="all")
    return pool(joblib.delayed(function)(clip) for clip in clips)


WAYS = {"tutorial": _tutorial, "har": _har, "limit": _limit, "PyAV": _pyav}


if __name__ == "__main__":
    run(main)
