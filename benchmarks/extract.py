"""Extraction beside the tutorial's way and beside the limit of the machine.

Command: python benchmarks/extract.py CLIPS_DIR [--repeats 3]
Inputs: CLIPS_DIR, a folder of Class/clip.ext.
Cost: two minutes for 370 clips of UCF50's kind on 2 cores.

Each way runs in a Python process of its own, in turns; the median counts. The clock starts when the
modules are imported and stops at the result; starting worker processes is included. All ways give
20 frames of 64 × 64.

- `tutorial`: for each frame `CAP_PROP_POS_FRAMES` to i · (frames // 20), read, resize, divide by
  255 into lists of float64, one process.
- `har`: `har.clips.extraction.extract` with an empty scratch folder.
- `limit`: one process a core decodes every frame (OpenCV's `grab`, which does not convert).
"""

import functools
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import harness
import joblib
import numpy as np

from har.clips import extraction
from har.errors import run

SHAPE = (20, 64, 64)
PACKAGES = ("opencv-python-headless", "joblib")
COLUMNS = {"clips/s": ",.1f", "x tutorial": ".1f", "of the limit": ".2f"}


def main() -> None:
    """Measure and print a table."""
    parser = harness.parser(__doc__)
    parser.add_argument("folder", type=Path, metavar="CLIPS_DIR", help="Class/clip.ext")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each way")
    options = parser.parse_args()
    folder = options.folder.absolute()
    names = extraction.list_videos(folder)
    for name in names:
        (folder / name).read_bytes()  # into the file cache, for all ways alike
    ways = {way: functools.partial(_measure, way, folder, names) for way in WAYS}
    runs = harness.turns(ways, options.repeats)
    title = f"{len(names)} clips, {runs['limit'][0]['count']:,} frames"
    report = harness.Report(f"{title}; {harness.machine(*PACKAGES)}", COLUMNS)
    medians = {way: np.median([[*run.values()] for run in runs[way]], axis=0) for way in ways}
    tutorial, limit = (len(names) / medians[way][0] for way in ("tutorial", "limit"))
    for way, (seconds, _) in medians.items():
        rate = len(names) / seconds
        report.row(way, rate, rate / tutorial, rate / limit)


def _measure(way: str, folder: Path, names: list[str]) -> dict[str, float]:
    """Run one way in a process of its own, in an empty folder; return its figures."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        ProcessPoolExecutor(1, get_context("spawn")) as pool,
    ):
        pool.submit(os.getpid).result()  # imports are not timed
        return pool.submit(_run, way, folder, names, scratch).result()


def _run(way: str, folder: Path, names: list[str], scratch: str) -> dict[str, float]:
    os.chdir(scratch)
    clips = [folder / name for name in names]
    start = time.perf_counter()
    count = WAYS[way](folder, clips)
    return {"seconds": time.perf_counter() - start, "count": count}


def _tutorial(_: Path, clips: list[Path]) -> int:
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
    return len(np.asarray(features))


def _har(folder: Path, _: list[Path]) -> int:
    return len(extraction.extract(folder, SHAPE, Path("frames.h5"))[0])


def _limit(_: Path, clips: list[Path]) -> int:
    with ProcessPoolExecutor(joblib.cpu_count(), get_context("fork")) as pool:
        return sum(pool.map(_grab, clips, chunksize=8))


def _grab(clip: Path) -> int:
    capture = cv2.VideoCapture(str(clip), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    n = 0
    while capture.grab():
        n += 1
    return n


WAYS = {"tutorial": _tutorial, "har": _har, "limit": _limit}


if __name__ == "__main__":
    run(main)
