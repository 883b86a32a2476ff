"""Eight people at once: every request answered rightly or refused politely, in bounded memory.

Command: python benchmarks/serve.py [--people 8] [--minutes 5] [--json PATH]
Inputs: models, metrics/metrics.json and data/videos: run the pipeline first.
Cost: five minutes.

Starts `har serve` on a free port of this machine. Each person uploads one clip of the data set
after the other through the JSON door and holds the answer against that of `har predict`.

Figures: right, wrong, refused, failed (requests); per_s, requests answered a second; p50_ms,
p95_ms from the upload to the answer; memory_mb at the start and grown_mb at the end.
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
from har.predictor.prediction import Settings, predict
from har.predictor.recogniser import Recogniser, best_model

N_CLIPS = 24
TOLERANCE = 1e-5


def main() -> None:
    """Serve, visit, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    folder = best_model(Path("metrics/metrics.json"), Path("models"))
    videos = Path("data/videos")
    names = list_videos(videos)
    clips = [videos / names[i] for i in np.linspace(0, len(names) - 1, N_CLIPS).astype(int)]
    recogniser = Recogniser.open(folder)
    known = [predict(recogniser, clip, Settings(), "").overall for clip in clips]
    process, url = start()
    try:
        memory = psutil.Process(process.pid).memory_info
        before = memory().rss
        ends = time.monotonic() + 60 * arguments.minutes
        with ThreadPoolExecutor(arguments.people) as pool:
            visits = pool.map(
                lambda person: visit(url, folder.name, clips, known, person, ends),
                range(arguments.people),
            )
            results = [result for results in visits for result in results]
        grown = (memory().rss - before) / 1e6
        alive = requests.get(f"{url}/health", timeout=30).json()["status"] == "ok"
    finally:
        process.terminate()
        process.wait(30)
    counts = {
        kind: sum(k == kind for k, _ in results) for kind in ("right", "wrong", "refused", "failed")
    }
    p50, p95 = np.percentile([ms for kind, ms in results if kind == "right"] or [0], [50, 95])
    figures = {
        **counts,
        "per_s": counts["right"] / (60 * arguments.minutes),
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
    process = subprocess.Popen(  # noqa: S603 (the command is ours)
        [sys.executable, "-c", code, "serve", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if found := re.match(r"http://\S+", line):
            return process, found[0]
    raise RuntimeError("har serve ended before it listened")


def visit(
    url: str, model: str, clips: list[Path], known: list[np.ndarray], person: int, ends: float
) -> list[tuple[str, float]]:
    """Ask until the time is up; return how each request went and how long it took, ms."""
    results = []
    turn = person
    while time.monotonic() < ends:
        turn = (turn + 5) % len(clips)
        begun = time.perf_counter()
        kind = "failed"
        try:
            answer = ask(url, model, clips[turn])
            if answer is None:
                kind = "refused"
            else:
                found = np.array(list(answer["probabilities"].values()))
                kind = "right" if np.abs(found - known[turn]).max() < TOLERANCE else "wrong"
        except (requests.RequestException, ValueError, LookupError):
            pass
        results.append((kind, (time.perf_counter() - begun) * 1000))
    return results


def ask(url: str, model: str, clip: Path) -> dict | None:
    """Upload a clip and ask for its classes; `None` where the server refuses, saying so."""
    with clip.open("rb") as file:
        upload = requests.post(f"{url}/gradio_api/upload", files={"files": file}, timeout=120)
    (path,) = upload.json()
    data = [{"path": path, "meta": {"_type": "gradio.FileData"}}, "", model]
    door = f"{url}/gradio_api/call/recognise"
    called = requests.post(door, json={"data": data}, timeout=120)
    if called.status_code in (429, 503):
        return None
    event = called.json()["event_id"]
    stream = requests.get(f"{door}/{event}", timeout=300).text
    kind = re.findall(r"^event: (\w+)$", stream, re.MULTILINE)[-1]
    data = json.loads(re.findall(r"^data: (.*)$", stream, re.MULTILINE)[-1])
    if kind == "error":
        if data:  # a sentence of ours, or that the queue is full
            return None
        raise ValueError("an error without a word")
    return data[0]


if __name__ == "__main__":
    run(main)
