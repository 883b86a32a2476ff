"""Several clients at once: every request gets the right answer or a refusal, in bounded memory.

Command: python benchmarks/serve.py [--clients 8] [--minutes 5] [--json PATH]
Inputs: models, metrics/metrics.json and data/fetched: run the pipeline first.
Cost: five minutes.

Starts `har serve` on a free port. Each client sends clips of the data set to `POST /recognise`, one
after the other, and compares the answer with that of `har predict`. Memory is that of the server
and its processes (PSS), at the start and what it grew by until the end.
"""

# ruff: noqa: E402 (Keras loads after prepare)
from har.nn import process

process.prepare()

import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import harness
import numpy as np
import psutil
import requests

from har.clips.extraction import list_videos
from har.errors import UserError, run
from har.predictor.figures import best_model
from har.predictor.prediction import Settings, predict
from har.predictor.recogniser import Recogniser

N_CLIPS = 24
TOLERANCE = 1e-5
COLUMNS = {"requests": ",.0f", "a second": ",.1f", "p50 ms": ",.0f", "p95 ms": ",.0f"}
Results = list[tuple[str, float]]  # how each request went, and how long it took in ms


def main() -> None:
    """Measure and print a table."""
    parser = harness.parser(__doc__)
    parser.add_argument("--clients", type=harness.count, default=8)
    parser.add_argument("--minutes", type=float, default=5.0)
    options = parser.parse_args()
    model = best_model()
    recogniser = Recogniser.open(model)
    names = list_videos(Path("data/fetched"))
    chosen = np.linspace(0, len(names) - 1, N_CLIPS).astype(int)
    clips = [Path("data/fetched") / names[i] for i in chosen]
    known = [predict(recogniser, clip, Settings(), "").overall for clip in clips]
    server, url = _start()
    try:
        watched = psutil.Process(server.pid)
        before = harness.memory_mb(watched)
        ends = time.monotonic() + 60 * options.minutes

        def visit(client: int) -> Results:
            return _visit(url, model.name, clips, known, client, ends)

        with ThreadPoolExecutor(options.clients) as pool:
            visits = list(pool.map(visit, range(options.clients)))
        grown = harness.memory_mb(watched) - before
        alive = requests.get(f"{url}/health", timeout=30).json()["status"] == "ok"
    finally:
        server.terminate()
        server.wait(30)
    title = f"{options.clients} clients, {options.minutes:g} min; {harness.machine()}"
    report = harness.Report(title, COLUMNS)
    for kind in ("right", "wrong", "refused", "failed"):
        times = [ms for results in visits for result, ms in results if result == kind]
        p50, p95 = np.percentile(times, [50, 95]) if times else (None, None)
        report.row(kind, len(times), len(times) / (60 * options.minutes), p50, p95)
    print(f"Memory: {before:,.0f} MB at the start, {grown:,.0f} MB more at the end")
    print(f"The server answers at the end: {'yes' if alive else 'no'}")
    report.write(options.json)


def _start() -> tuple[subprocess.Popen, str]:
    code = "import sys; sys.argv[0] = 'har'; from har.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 (ours)
    for line in server.stdout:
        if found := re.match(r"http://\S+", line):
            return server, found[0]
    raise UserError("har serve ended before it listened. The lines above say why.")


def _visit(
    url: str, model: str, clips: list[Path], known: list[np.ndarray], client: int, ends: float
) -> Results:
    results, turn = [], client
    while time.monotonic() < ends:
        turn = (turn + 5) % len(clips)
        start = time.perf_counter()
        try:
            with clips[turn].open("rb") as file:
                form = {"files": {"file": file}, "data": {"model": model}}
                reply = requests.post(f"{url}/recognise", timeout=300, **form)
            if reply.ok:
                found = np.array(list(reply.json()["probabilities"].values()))
                kind = "right" if np.abs(found - known[turn]).max() < TOLERANCE else "wrong"
            else:
                kind = "refused" if "error" in reply.json() else "failed"
        except (requests.RequestException, ValueError, LookupError):
            kind = "failed"
        results.append((kind, (time.perf_counter() - start) * 1000))
    return results


if __name__ == "__main__":
    run(main)
