"""A new frame to a new answer: this project's stream, a full window a frame, the tutorial's way.

Command: python benchmarks/predict.py [--model lrcn] [--frames 300] [--json PATH]
Inputs: a trained model; run the pipeline first.
Cost: about a minute on 2 cores.

All three answer after each frame of one 320 × 240 video, whose decoding is not counted. The
stream (`har.predictor.live`) computes the new frame's features and runs the head; the full
window runs the whole network on the window's frames, called the cheapest way Keras has; the
tutorial's way (Anwar et al., Bleed AI, 2021) is `model.predict` on the last consecutive frames.
Work is counted in multiply-adds of the layers with kernels, which no other load on the machine
changes. The limit is the stream's work done at the rate that the full window reaches.

Figures: p50_ms, p95_ms of the stream; vs_full_window, times less work than a full window;
vs_full_window_time, times less time; full_window_p50_ms, full_window_p95_ms, tutorial_p50_ms,
tutorial_p95_ms; video_s, a 60 s video from file to JSON after start-up.
"""

import argparse
import json
import math
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import cv2
import keras
import numpy as np

from har import files
from har.clips.video import shrink
from har.errors import run
from har.predictor import outputs
from har.predictor.prediction import TIMELINE, Settings, predict
from har.predictor.recogniser import Recogniser

FPS, HEIGHT, WIDTH = 25, 240, 320  # of the film
SECONDS = 60


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="lrcn")
    parser.add_argument("--frames", type=int, default=300, help="new frames to answer")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    recogniser = Recogniser.open(arguments.model)
    count, height, width = recogniser.shape
    stream = recogniser.stream()
    frames = film(arguments.frames + 2 * count)

    def streaming(at: float, frame: np.ndarray) -> np.ndarray:
        stream.push(at, frame)
        return stream.answer()

    def on_last_frames(recognise: Callable[[np.ndarray], np.ndarray]) -> Callable:
        last: deque[np.ndarray] = deque(maxlen=count)

        def answer(at: float, frame: np.ndarray) -> np.ndarray:
            last.append(shrink(frame, height, width))
            return recognise(np.stack([*[last[0]] * (count - len(last)), *last])[None])[0]

        return answer

    warm_up = 2 * count
    stream.push(0.0, frames[0])
    ways, answers = {}, {}
    for way, answer, n in (
        ("stream", streaming, len(frames)),
        ("full window", on_last_frames(recogniser.probabilities), len(frames)),
        (
            "tutorial",
            on_last_frames(lambda clip: recogniser.model.predict(clip, verbose=0)),
            warm_up + 60,
        ),
    ):
        # A new frame comes as often as a window has places, so that each changes the answer.
        times, answers[way] = measured(answer, frames[:n], stream.seconds / count)
        ways[way] = np.percentile(times[warm_up:], [50, 95]).tolist()
    difference = float(np.abs(answers["stream"] - answers["full window"])[warm_up:].max())
    part, reason = recogniser.split
    if part:
        frame_work, head_work = map(multiply_adds, (part.features_model, part.head_model))
        step = frame_work + len(part.places) * head_work
        whole = part.places.size * frame_work + len(part.places) * head_work
    else:
        step = whole = multiply_adds(recogniser.model)
        print(f"{recogniser.name} has no stream: {reason}. Its first line is a full window.")

    machine = f"{os.cpu_count()} cores, {keras.backend.backend()}"
    print(f"{recogniser.name}, {count} x {height} x {width}, {machine}")
    print(f"{'a new frame to a new answer':28}{'p50':>10}{'p95':>10}{'million multiply-adds':>24}")
    figures = {"p50_ms": ways["stream"][0], "p95_ms": ways["stream"][1]}
    for way, (p50, p95) in ways.items():
        done = step if way == "stream" else whole
        print(f"{way:28}{p50:7.2f} ms{p95:7.2f} ms{done / 1e6:24.2f}")
        if way != "stream":
            key = way.replace(" ", "_")
            figures |= {f"{key}_p50_ms": p50, f"{key}_p95_ms": p95}
    print(f"{'limit':28}{ways['full window'][0] * step / whole:7.2f} ms")
    figures["vs_full_window"] = whole / step
    figures["vs_full_window_time"] = ways["full window"][0] / ways["stream"][0]
    figures["vs_tutorial_time"] = ways["tutorial"][0] / ways["stream"][0]
    print(
        f"The stream does {figures['vs_full_window']:.1f} times less work than a full window a "
        f"frame, in {figures['vs_full_window_time']:.1f} times less time, and takes "
        f"{figures['vs_tutorial_time']:.0f} times less time than the tutorial's way; "
        f"largest difference of probabilities {difference:.1e}."
    )
    figures["video_s"] = file_to_json(recogniser)
    print(f"{SECONDS} s of {WIDTH} x {HEIGHT}, file to JSON: {figures['video_s']:.2f} s")
    if arguments.json:
        rounded = {key: round(value, 4) for key, value in figures.items()}
        files.write_text(arguments.json, json.dumps(rounded, indent=2) + "\n")


def film(n: int) -> list[np.ndarray]:
    """Return `n` frames of something that moves, uint8 (HEIGHT, WIDTH, 3) RGB."""
    rng = np.random.default_rng(0)
    picture = np.kron(rng.integers(0, 256, (24, 32, 3)), np.ones((10, 10, 1))).astype(np.uint8)
    frames = [np.roll(picture, 3 * i, axis=1) for i in range(n)]
    for i, frame in enumerate(frames):
        cv2.circle(frame, (160, 120 + round(80 * math.sin(i / 8))), 30, (255, 255, 255), -1)
    return frames


def measured(
    answer: Callable[[float, np.ndarray], np.ndarray], frames: list[np.ndarray], tick: float
) -> tuple[list[float], np.ndarray]:
    """Return how long each answer took, ms, and the answers, (N, C)."""
    times, answers = [], []
    for i, frame in enumerate(frames):
        start = time.perf_counter()
        answers.append(answer((i + 0.5) * tick, frame))
        times.append((time.perf_counter() - start) * 1000)
    return times, np.array(answers)


def multiply_adds(model: keras.Model) -> int:
    """Return the multiply-adds of one example: each kernel's size times the places it is put."""
    total = 0
    for layer in model.layers:
        recurrent = hasattr(layer, "cell") or isinstance(layer, keras.layers.Bidirectional)
        if isinstance(layer, keras.layers.ConvLSTM2D):
            places = layer.input.shape[1] * math.prod(layer.output.shape[-3:-1])
        else:
            places = layer.input.shape[1] if recurrent else math.prod(layer.output.shape[1:-1])
        kernels = [math.prod(w.shape) for w in layer.weights if len(w.shape) > 1]
        total += sum(kernels) * places if kernels else 0
    return total


def file_to_json(recogniser: Recogniser) -> float:
    """Return the seconds from the file of a long video to JSON, with the model loaded."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.avi"
        codec = cv2.VideoWriter_fourcc(*"XVID")
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, FPS, (WIDTH, HEIGHT))
        for frame in film(500) * (SECONDS * FPS // 500):
            writer.write(frame)
        writer.release()
        start = time.perf_counter()
        prediction = predict(recogniser, path, Settings(kind=TIMELINE), path.name)
        outputs.json_text([prediction], [], recogniser, 5)
        spent = time.perf_counter() - start
    if abs(prediction.seconds - SECONDS) > 0.1:
        raise RuntimeError(f"{prediction.seconds} s of {SECONDS} were read")
    return spent


if __name__ == "__main__":
    run(main)
