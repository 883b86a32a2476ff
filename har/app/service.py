"""Answers for the page: on a video, on a camera's frames, and about the models."""

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import psutil

from har import files
from har.app.limits import Limits
from har.clips import video
from har.errors import UserError
from har.predictor import annotation, figures, outputs, web_video
from har.predictor.live import Stream
from har.predictor.prediction import Prediction, Report, Settings, predict
from har.predictor.recogniser import Recogniser

_IDLE = 20.0  # seconds without a frame after which a camera counts as switched off


class Answer(NamedTuple):
    """What was recognised in a video, by which model, and in how many seconds."""

    prediction: Prediction
    recogniser: Recogniser
    seconds: float


@dataclass
class _Camera:
    model: str
    stream: Stream
    began: float
    seen: float
    frames: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Service:
    """The models of a project and the work for visitors; safe to call from many threads."""

    def __init__(self, models: Path, metrics: Path, limits: Limits) -> None:
        self.limits, self._models, self.metrics = limits, models, metrics
        self.examples: list[Path] = []  # clips to try
        # The files of visitors.
        self.folder = Path(tempfile.mkdtemp(prefix=f"har-serve-{os.getpid()}-")).resolve()
        self.uploads, self.films = self.folder / "uploads", self.folder / "films"
        self.uploads.mkdir()
        self.films.mkdir()
        self._recognisers: dict[str, Recogniser] = {}
        self._cameras: dict[str, _Camera] = {}
        self.stopped: set[str] = set()  # visitors who cancelled
        self._lock = threading.Lock()
        self._jobs = threading.BoundedSemaphore(limits.jobs)

    def names(self) -> list[str]:
        """Return the names of the models, the best first, those without figures last."""
        others = sorted(card.parent.name for card in self._models.glob("*/card.json"))
        return list(dict.fromkeys([*figures.ranked_models(self.metrics, self._models), *others]))

    def recogniser(self, name: str) -> Recogniser:
        """Return a model of `names`, loaded once; raises `UserError` for another name."""
        with self._lock:
            if name not in self._recognisers:
                # The name comes from a request: it is looked up before it becomes part of a path.
                if name not in self.names():
                    raise UserError(
                        f"Expected one of the models {', '.join(self.names())}. Received: {name}. "
                        "Choose another."
                    )
                folder = self._models / name
                recogniser = Recogniser.open(folder if folder.is_dir() else name)
                _ = recogniser.milliseconds  # compiles, which takes seconds
                self._recognisers[name] = recogniser
            return self._recognisers[name]

    @contextlib.contextmanager
    def downloaded(self, url: str) -> Iterator[Path]:
        """Provide the video of an address as a file for a while."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            yield web_video.fetch(url, Path(folder), self.limits.download)

    def recognise(self, path: Path, name: str, source: str, report: Report = float) -> Answer:
        """Recognise a video, called `source`; a `UserError` says what is wrong or too large."""
        recogniser = self.recogniser(name)
        with self._jobs, _readable(source):
            self._check(path)
            began = time.perf_counter()
            prediction = predict(recogniser, path, Settings(), source, report)
            return Answer(prediction, recogniser, time.perf_counter() - began)

    def saved(self, answer: Answer) -> list[str]:
        """Write an answer as CSV, subtitles and JSON; return the files."""
        folder = Path(tempfile.mkdtemp(dir=self.films))
        csv, srt, json = (folder / f"answer.{kind}" for kind in ("csv", "srt", "json"))
        outputs.write([answer.prediction], csv, srt)
        files.write_text(json, outputs.json_text([answer.prediction], [], answer.recogniser, 5))
        return [str(csv), str(srt), str(json)]

    def film(self, answer: Answer, path: Path, report: Report) -> Path:
        """Draw the labels on the video at `path`; return the MP4."""
        film = Path(tempfile.mkdtemp(dir=self.films)) / "recognised.mp4"
        with self._jobs, _readable(answer.prediction.source):
            annotation.annotate(answer.prediction, path, film, report)
        return film

    def _check(self, path: Path) -> None:
        limits = self.limits
        megabytes = path.stat().st_size / 1e6
        pixels, minutes, frames = _extent(path) if megabytes <= limits.megabytes else (0, 0.0, 0)
        for value, most, unit in (
            (megabytes, limits.megabytes, "MB"),
            (pixels / 1e6, limits.megapixels, "megapixels"),
            (minutes, limits.minutes, "minutes"),
            (frames, limits.minutes * 60 * 60, "frames"),  # 60 a second
        ):
            if value > most:
                raise UserError(
                    f"Expected a video of at most {most:g} {unit}. Received: {value:.4g} {unit}. "
                    "Cut it or scale it down."
                )

    def look(
        self, visitor: str, frame: np.ndarray, name: str, now: float
    ) -> tuple[str, np.ndarray, str]:
        """Take a frame, uint8 (H, W, 3) RGB, of a visitor's camera, at `now`, monotonic seconds.

        Returns the label of the last seconds, the probabilities (C,), and a line on speed. A
        `UserError` says that there are as many cameras as `limits` allow.
        """
        recogniser = self.recogniser(name)
        with self._lock:
            for other in [v for v, c in self._cameras.items() if now - c.seen > _IDLE]:
                del self._cameras[other]
            camera = self._cameras.get(visitor)
            if camera is None and len(self._cameras) >= self.limits.cameras:
                raise UserError("All cameras of this server are in use. Try again in a minute.")
            if camera is None or camera.model != name:
                camera = self._cameras[visitor] = _Camera(name, Stream(recogniser), now, now)
        # Two requests of one camera can run at once, and the later frame come first.
        with camera.lock:
            camera.frames += 1
            camera.seen = now = max(now, camera.seen)
            camera.stream.push(now, frame)
            row, spent = camera.stream.answer(), now - camera.began
            milliseconds, rate = camera.stream.milliseconds[-1], camera.frames / max(spent, 0.1)
            speed = f"{milliseconds:.1f} ms an answer · {rate:.0f} frames a second"
            if spent < camera.stream.seconds:
                speed += f" · first window {spent / camera.stream.seconds:.0%} full"
            return camera.stream.label, row, speed

    def leave(self, visitor: str) -> None:
        """Forget a visitor's camera."""
        with self._lock:
            self._cameras.pop(visitor, None)

    def sweep(self) -> None:
        """Delete old files of visitors, and the folders of servers that were killed."""
        old = time.time() - self.limits.keep_seconds
        # Gradio keeps copies of what the page shows among the uploads.
        shown = *self.folder.glob("examples/*"), *self.metrics.glob("*/confusion.png")
        kept = {(path.name, path.stat().st_size) for path in shown}
        for file in [*self.uploads.rglob("*"), *self.films.rglob("*")]:
            with contextlib.suppress(OSError):  # deleted meanwhile, or a folder that is not empty
                facts = file.stat()
                if facts.st_mtime < old and (file.name, facts.st_size) not in kept:
                    file.rmdir() if file.is_dir() else file.unlink()
        for folder in self.folder.parent.glob("har-serve-*-*"):
            process = int(folder.name.split("-")[2])
            # In a container each server has the same process number.
            ended = process == os.getpid() or not psutil.pid_exists(process)
            if ended and folder != self.folder:
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Delete all files."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def _readable(source: str) -> Iterator[None]:
    try:
        yield
    except video.UnreadableVideoError as error:
        raise UserError(f"Expected a video. Received: {source}, {error}. Try another.") from None


def _extent(path: Path) -> tuple[int, float, int]:
    # Pixels of a frame, minutes, frames. The packets are counted, not decoded: a header can say
    # anything, and 100 MB can hold days of a still picture.
    pixels, rate, n_frames, times = 0, 25.0, 0, []
    # Where there is no video, or one that breaks off, the decoder says so later.
    with (
        contextlib.suppress(av.error.FFmpegError, LookupError),
        av.open(str(path), options=video.OPTIONS) as container,
    ):
        stream = container.streams.video[0]
        pixels, rate = stream.width * stream.height, float(stream.average_rate or rate)
        for packet in container.demux(stream):
            n_frames += bool(packet.size)
            if packet.size and packet.pts is not None:
                times.append(float(packet.pts * packet.time_base))
    seconds = max(times) - min(times) if times else n_frames / rate
    return pixels, seconds / 60, n_frames
