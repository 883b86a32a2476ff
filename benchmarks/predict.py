"""A new frame to a new answer: the stream, a full window a frame, and the tutorial's way.

Command: python benchmarks/predict.py [--model lrcn] [--frames 200] [--json PATH]
Inputs: a trained model; run the pipeline first.
Cost: about a minute on 2 cores.

All three answer after each frame of one 320 × 240 video, in turns; decoding is not counted. The
tutorial's way is `model.predict` on the last consecutive frames. The limit is the stream's
multiply-adds at the rate of the full window.
"""

# ruff: noqa: E402 (Keras loads after prepare)
from har.nn import process

process.prepare()

import functools
import time
from collections import deque
from collections.abc import Callable, Iterator

import harness
import numpy as np

from har.clips.video import shrink
from har.comparison import cost
from har.errors import run
from har.predictor.recogniser import Recogniser

Answer = Callable[[float, np.ndarray], np.ndarray]


def main() -> None:
    """Measure and print a table."""
    parser = harness.parser(__doc__)
    parser.add_argument("--model", default="lrcn", help="folder, or name in models/")
    parser.add_argument("--frames", type=int, default=200, help="new frames to answer")
    options = parser.parse_args()
    recogniser = Recogniser.open(options.model)
    count, height, width = recogniser.shape
    stream = recogniser.stream()
    warm_up = 2 * count
    frames = _film(options.frames + warm_up)

    def streaming(at: float, frame: np.ndarray) -> np.ndarray:
        stream.push(at, frame)
        return stream.answer()

    def on_last_frames(recognise: Callable[[np.ndarray], np.ndarray]) -> Answer:
        last: deque[np.ndarray] = deque(maxlen=count)

        def answer(_: float, frame: np.ndarray) -> np.ndarray:
            last.append(shrink(frame, height, width))
            return recognise(np.stack([*[last[0]] * (count - len(last)), *last])[None])[0]

        return answer

    stream.push(0.0, frames[0])
    ways = {
        "stream": streaming,
        "full window": on_last_frames(recogniser.probabilities),
        "tutorial": on_last_frames(functools.partial(recogniser.model.predict, verbose=0)),
    }
    # A new frame comes as often as a window has places, so that each changes the answer.
    tick = stream.seconds / count
    runs = {way: _milliseconds(answer, frames, tick) for way, answer in ways.items()}
    calls = {way: functools.partial(next, found) for way, found in runs.items()}
    found = {way: f[warm_up:] for way, f in harness.turns(calls, len(frames)).items()}

    whole = step = cost.multiply_adds(recogniser.model)
    part, reason = recogniser.split
    if part:
        frame = cost.multiply_adds(part.features_model)
        step = whole - (part.places.size - 1) * frame  # one frame, and the head
    else:
        print(f"{recogniser.name} has no stream: {reason}. Its first row is a full window.")
    title = f"{recogniser.name}, {count} x {height} x {width}; {harness.machine('keras')}"
    columns = {"p50 ms": ",.2f", "p95 ms": ",.2f", "million multiply-adds": ",.2f"}
    report = harness.Report(title, columns)
    p50 = {}
    for way, results in found.items():
        p50[way], p95 = np.percentile(results, [50, 95])
        report.row(way, p50[way], p95, (step if way == "stream" else whole) / 1e6)
    report.row("limit", p50["full window"] * step / whole, None, step / 1e6)
    report.ratio("time of a full window, x stream", p50["full window"] / p50["stream"])
    report.ratio("time of the tutorial's way, x stream", p50["tutorial"] / p50["stream"])
    report.write(options.json)


def _film(n: int) -> list[np.ndarray]:
    """Return frames of something that moves, uint8 (240, 320, 3) RGB."""
    rng = np.random.default_rng(0)
    picture = np.kron(rng.integers(0, 256, (24, 32, 3)), np.ones((10, 10, 1))).astype(np.uint8)
    return [np.roll(picture, 3 * i, axis=1) for i in range(n)]


def _milliseconds(answer: Answer, frames: list[np.ndarray], tick: float) -> Iterator[float]:
    for i, frame in enumerate(frames):
        start = time.perf_counter()
        answer((i + 0.5) * tick, frame)
        yield (time.perf_counter() - start) * 1000


if __name__ == "__main__":
    run(main)
