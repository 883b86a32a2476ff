"""Eight people at once: every request answered rightly or refused politely, in bounded memory.

Command: python benchmarks/serve.py [--people 8] [--minutes 5] [--json PATH]
Inputs: models, metrics/metrics.json and data/videos: run the pipeline first.
Cost: five minutes.

Starts `har serve` on a free port. Each person sends one clip of the data set after the other to
`POST /recognise` and compares the answer with that of `har predict`.

Figures: right, wrong, refused, failed (requests); per_s, requests answered a second; p50_ms,
p95_ms, from the upload to the answer; memory_mb at the start and grown_mb at the end.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import requests

from har import files
from har.clips.extraction import list_videos
from har.errors import run
from har.nn import process
from har.predictor.figures import best_model
from har.predictor.prediction import Settings, predict
from har.predictor.recogniser import Recogniser

N_CLIPS = 24
TOLERANCE = 1e-5


def main() -> None:
    """Serve, visit, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    process.prepare()
    recogniser = Recogniser.open(best_model())
    videos = Path("data/videos")
    names = list_videos(videos)
    clips = [videos / names[i] for i in np.linspace(0, len(names) - 1, N_CLIPS).astype(int)]
    known = [predict(recogniser, clip, Settings(), "").overall for clip in clips]
    server, url = start()
    try:
        memory = psutil.Process(server.pid).memory_info
        before = memory().rss
        ends = time.monotonic() + 60 * arguments.minutes
        with ThreadPoolExecutor(arguments.people) as pool:
            people = range(arguments.people)
            visits = list(pool.map(lambda person: visit(url, clips, known, person, ends), people))
        grown = (memory().rss - before) / 1e6
        alive = requests.get(f"{url}/health", timeout=30).json()["status"] == "ok"
    finally:
        server.terminate()
        server.wait(30)
    results = [result for results in visits for result in results]
    kinds = ("right", "wrong", "refused", "failed")
    figures = {kind: float(sum(k == kind for k, _ in results)) for kind in kinds}
    p50, p95 = np.percentile([ms for kind, ms in results if kind == "right"] or [0], [50, 95])
    figures |= {
        "per_s": figures["right"] / (60 * arguments.minutes),
        "p50_ms": float(p50),
        "p95_ms": float(p95),
        "memory_mb": before / 1e6,
        "grown_mb": grown,
    }
    print(f"{arguments.people} people, {arguments.minutes:g} min, {os.cpu_count()} cores")
    for name, value in figures.items():
        print(f"{name:12}{value:12,.1f}")
    print(f"Alive at the end: {'yes' if alive else 'no'}")
    if arguments.json:
        rounded = {name: round(value, 2) for name, value in figures.items()}
        files.write_text(arguments.json, json.dumps(rounded, indent=2) + "\n")


def start() -> tuple[subprocess.Popen, str]:
    """Start `har serve`; return the process and its address."""
    code = "import sys; sys.argv[0] = 'har'; from har.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 (ours)
    for line in server.stdout:
        if found := re.match(r"http://\S+", line):
            return server, found[0]
    raise RuntimeError("har serve ended before it listened")


def visit(
    url: str, clips: list[Path], known: list[np.ndarray], person: int, ends: float
) -> list[tuple[str, float]]:
    """Ask until the time is up; return how each request went and how long it took, ms."""
    results = []
    turn = person
    while time.monotonic() < ends:
        turn = (turn + 5) % len(clips)
        begun = time.perf_counter()
        try:
            with clips[turn].open("rb") as file:
                reply = requests.post(f"{url}/recognise", files={"file": file}, timeout=300)
            if reply.ok:
                found = np.array(list(reply.json()["probabilities"].values()))
                kind = "right" if np.abs(found - known[turn]).max() < TOLERANCE else "wrong"
            else:
                kind = "refused" if "error" in reply.json() else "failed"
        except (requests.RequestException, ValueError, LookupError):
            kind = "failed"
        results.append((kind, (time.perf_counter() - begun) * 1000))
    return results


if __name__ == "__main__":
    run(main)
