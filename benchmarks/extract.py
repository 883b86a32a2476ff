"""Extraction beside the tutorial's way and beside the limit of the machine.

Command: python benchmarks/extract.py CLIPS_DIR [--json PATH] [--repeats 3] [--repeat-to N]
Inputs: CLIPS_DIR, a folder of Class/clip.ext.
Cost: about 2 minutes for 370 clips of UCF50's kind on 2 cores.

Each way runs in a Python process of its own, in turns, and the median over the turns counts. The
clock starts when the modules are imported and stops at the result; it includes starting worker
processes, each from nothing, for every way that has them. All give 20 frames of 64 × 64.

- `tutorial`: for each frame `CAP_PROP_POS_FRAMES` to i · (frames // 20), read, resize, divide by
  255 into lists of float64, one process.
- `har`: `har.clips.extraction.extract` with empty scratch.
- `limit`: every frame of every clip is decoded (OpenCV's `grab`, which does not convert) with one
  process a core, and nothing else is done. `warm` is without the start of its processes.
- `PyAV`: every frame decoded, the same 20 scaled by FFmpeg, one process a core.

`CPU s` is the processor time of all processes: on a machine that others use it tells more than the
clock. Memory is the highest sum over all processes, of pages that are theirs alone plus their share
of common ones (PSS).

`--repeat-to N` instead extracts N clips, made by linking those of CLIPS_DIR under other names:
equal clips of one run are decoded each for itself, so the work is that of N clips.
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import joblib
import numpy as np
import psutil
from tqdm import tqdm

from har import files
from har.clips import extraction, video
from har.errors import UserError, run

SHAPE = (20, 64, 64)
WAYS = ("tutorial", "har", "limit", "PyAV")


def tutorial(clips: list[Path]) -> dict[str, float]:
    """Extract as the tutorial does."""
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


def har(folder: Path) -> dict[str, float]:
    """Extract with this project."""
    return {"clips": len(extraction.extract(folder, SHAPE, Path("frames.h5"))[0])}


def limit(clips: list[Path]) -> dict[str, float]:
    """Decode and do nothing else; the second time the processes are there already."""
    spread(grab, clips)
    middle, used = time.perf_counter(), processor_seconds()
    frames = sum(spread(grab, clips))
    return {
        "warm_s": time.perf_counter() - middle,
        "warm_cpu_s": processor_seconds() - used,
        "frames": frames,
    }


def grab(clip: Path) -> int:
    """Decode a clip; return how many frames do."""
    capture = cv2.VideoCapture(str(clip), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    n = 0
    while capture.grab():
        n += 1
    return n


def pyav(clips: list[Path]) -> dict[str, float]:
    """Decode and scale with FFmpeg alone."""
    return {"clips": sum(frames.shape == (*SHAPE, 3) for frames in spread(read_by_pyav, clips))}


def read_by_pyav(clip: Path) -> np.ndarray:
    """Return evenly picked frames of a clip, uint8 (T, H, W, 3)."""
    import av

    count, height, width = SHAPE
    n, expected = 0, None
    while n != expected:  # the header's count, then the true one
        with av.open(str(clip)) as file:
            stream = file.streams.video[0]
            stream.thread_type, stream.thread_count = "SLICE", 1
            expected = n or max(stream.frames, 1)
            indices = video.even_indices(expected, count)
            picked, wanted = [], set(indices.tolist())
            for n, frame in enumerate(file.decode(stream), 1):
                if n - 1 in wanted:
                    small = frame.reformat(width, height, "rgb24", interpolation="AREA")
                    picked.append(small.to_ndarray())
    return np.stack(picked)[np.unique(indices, return_inverse=True)[1]]


def spread(function: Any, clips: list[Path]) -> list[Any]:
    """Call `function` on every clip, one process a core, eight clips at a time."""
    pool = joblib.Parallel(n_jobs=joblib.cpu_count(), batch_size=8, pre_dispatch="all")
    return pool(joblib.delayed(function)(clip) for clip in clips)


def child(way: str, folder: Path) -> None:
    """Run one way and print its figures as a line of JSON."""
    clips = [folder / name for name in extraction.list_videos(folder)]
    ways = {"tutorial": tutorial, "limit": limit, "PyAV": pyav}
    before = processor_seconds()
    start = time.perf_counter()
    figures = har(folder) if way == "har" else ways[way](clips)
    seconds = time.perf_counter() - start - figures.get("warm_s", 0)
    used = processor_seconds() - before - figures.get("warm_cpu_s", 0)
    print(json.dumps({"seconds": seconds, "cpu_s": used, **figures}))


def processor_seconds() -> float:
    """Return the processor time of this process and of all that it started, ended or not."""
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(sum(one.cpu_times()[:4]) for one in family)  # user, system and those of the ended


def measure(way: str, folder: Path) -> dict[str, float]:
    """Run one way in a process of its own, in an empty folder; add its peak memory, MB."""
    with tempfile.TemporaryDirectory() as scratch:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path[1:])}
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, str(Path(__file__).resolve()), str(folder), "--way", way],
            cwd=scratch,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        peak: list[float] = [0.0]
        watch = threading.Thread(target=watch_memory, args=(process, peak))
        watch.start()
        said, _ = process.communicate()
        watch.join()
    if process.returncode:
        raise SystemExit(f"{way}: exit code {process.returncode}")
    return {**json.loads(said.splitlines()[-1]), "peak_mb": peak[0]}


def watch_memory(process: subprocess.Popen, peak: list[float]) -> None:
    """Keep the highest memory of a process and its descendants in `peak`, MB."""
    root = psutil.Process(process.pid)
    while process.poll() is None:
        total = 0.0
        try:
            family = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            break
        for member in family:
            try:
                memory = member.memory_full_info()
                total += getattr(memory, "pss", memory.uss) / 1e6
            except psutil.Error:
                continue  # it ended, or is about to
        peak[0] = max(peak[0], total)
        time.sleep(0.2)


def compare(folder: Path, repeats: int) -> dict[str, float]:
    """Run all ways in turns, print the table, return the figures."""
    ways = [way for way in WAYS if way != "PyAV" or importlib.util.find_spec("av")]
    names = extraction.list_videos(folder)
    for name in names:
        (folder / name).read_bytes()  # from now on in the system's memory, for all ways alike
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for way in tqdm(ways * repeats, desc="Measuring", disable=None, leave=False):
        runs[way].append(measure(way, folder))
    runs["limit, warm"] = [
        {"seconds": run["warm_s"], "cpu_s": run["warm_cpu_s"], "peak_mb": run["peak_mb"]}
        for run in runs["limit"]
    ]
    rate = {way: len(names) / statistics.median(r["seconds"] for r in runs[way]) for way in runs}
    used = {way: statistics.median(r["cpu_s"] for r in runs[way]) for way in runs}
    peak = {way: max(r["peak_mb"] for r in runs[way]) for way in runs}
    frames = runs["limit"][0]["frames"]
    print(f"{len(names)} clips, {frames:,} frames, median of {repeats}; {machine()}")
    print(f"{'':14}{'clips/s':>9}{'x tutorial':>12}{'of the limit':>14}{'CPU s':>8}{'peak MB':>9}")
    for way, value in rate.items():
        print(
            f"{way:14}{value:9.1f}{value / rate['tutorial']:12.1f}"
            f"{value / rate['limit']:14.2f}{used[way]:8.1f}{peak[way]:9.0f}"
        )
    pairs = zip(runs["har"], runs["limit"], strict=True)
    return {
        "clips": len(names),
        "vs_tutorial": rate["har"] / rate["tutorial"],
        "vs_limit": rate["har"] / rate["limit"],
        "vs_limit_paired": statistics.median(b["seconds"] / a["seconds"] for a, b in pairs),
        "cpu_vs_limit": used["limit"] / used["har"],
        **{f"{way}: clips_per_s": value for way, value in rate.items()},
        **{f"{way}: cpu_s": value for way, value in used.items()},
        **{f"{way}: peak_mb": value for way, value in peak.items()},
    }


def grow(folder: Path, n: int) -> dict[str, float]:
    """Extract `n` clips, print and return rate and memory."""
    names = extraction.list_videos(folder)
    with tempfile.TemporaryDirectory() as links:
        for i in range(n):
            clip = Path(names[i % len(names)])
            link = Path(links) / clip.with_name(f"{i // len(names)}_{clip.name}")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to((folder / clip).absolute())
        figures = measure("har", Path(links))
    rate = n / figures["seconds"]
    print(machine())
    print(f"{n:,} clips: {rate:.1f} clips/s, peak {figures['peak_mb']:.0f} MB in all processes")
    return {"clips": n, "clips_per_s": rate, "peak_mb": figures["peak_mb"]}


def machine() -> str:
    """Describe what the figures were measured with."""
    return (
        f"{joblib.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, "
        f"OpenCV {cv2.__version__}, joblib {joblib.__version__}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="CLIPS_DIR", help="Class/clip.ext")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each way")
    parser.add_argument("--repeat-to", type=int, metavar="N", help="extract N linked clips")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        child(arguments.way, arguments.folder)
        return
    for name in ("repeats", "repeat_to"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise UserError(f"Expected 1 or more for --{name.replace('_', '-')}. Received: {value}")
    folder = arguments.folder.absolute()
    if arguments.repeat_to:
        figures = grow(folder, arguments.repeat_to)
    else:
        figures = compare(folder, arguments.repeats)
    if arguments.json:
        files.write_text(arguments.json, json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
