"""What the page asks of the models: a video, a camera's frame, what is known of a model."""

import contextlib
import json
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from har.app.limits import Limits
from har.clips import video
from har.errors import UserError
from har.predictor import annotation, web_video
from har.predictor.live import Stream
from har.predictor.prediction import CLIP, Prediction, Settings, predict
from har.predictor.recogniser import Recogniser
from har.predictor.timeline import UNKNOWN, Smoother, Smoothing

_IDLE = 20.0  # seconds without a frame after which a camera is taken for gone


@dataclass(frozen=True)
class Answer:
    """What is shown of a video.

    Attributes:
        prediction: windows, probabilities, segments.
        frames: uint8 (n, H, W, 3) RGB, as the network saw them; of a timeline, one a segment.
        film: the video with labels, MP4.
        milliseconds: for reading and recognising, without the film.
        frames_per_second: of the video, read and recognised in that time.
    """

    prediction: Prediction
    frames: np.ndarray
    film: Path
    milliseconds: float
    frames_per_second: float


@dataclass
class Live:
    """A visitor's camera."""

    model: str
    stream: Stream
    smoother: Smoother
    began: float
    seen: float
    frames: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Glance:
    """What is shown of a camera's last frame.

    Attributes:
        label: of the class, or `unknown`.
        probabilities: smoothed, (C,).
        milliseconds: from the new frame to the answer.
        frames_per_second: that came.
        filled: how much of the first window has been seen, in [0, 1].
    """

    label: str
    probabilities: np.ndarray
    milliseconds: float
    frames_per_second: float
    filled: float


@dataclass
class Desk:
    """The models of a project, and what visitors do with them; safe to call from many threads.

    Attributes:
        models: folder of the models' folders.
        metrics: `metrics.json`.
        limits: what a visitor may ask for.
        folder: for the files of visitors, `uploads` and `films`; deleted with the server.
        examples: clips to try; they stay.
    """

    models: Path
    metrics: Path
    limits: Limits
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="har-")).resolve())
    examples: list[Path] = field(default_factory=list)
    _open: dict[str, Recogniser] = field(default_factory=dict)
    _lives: dict[str, Live] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def names(self) -> list[str]:
        """Return the names of the models, the best first."""
        found = sorted(card.parent.name for card in self.models.glob("*/card.json"))
        figures = self.figures()
        return sorted(found, key=lambda name: -figures.get(name, {}).get("accuracy", -1))

    def recogniser(self, name: str) -> Recogniser:
        """Return a model, loaded once; raises `UserError` for an unknown one."""
        with self._lock:
            if name not in self._open:
                # The name comes from outside: it is looked up, never made part of a path.
                if name not in self.names():
                    raise UserError(
                        f"Expected one of the models {', '.join(self.names())}. Received: {name}. "
                        "Choose another."
                    )
                recogniser = Recogniser.open(self.models / name)
                Stream(recogniser)  # cuts the network in two, which takes seconds
                clip = np.zeros((1, *recogniser.shape, 3), np.uint8)
                recogniser.probabilities(clip)
                self._open[name] = recogniser
            return self._open[name]

    def figures(self) -> dict[str, dict[str, float]]:
        """Return the test figures of the models, `{}` where there are none."""
        try:
            return json.loads(self.metrics.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def recognise_url(self, url: str, name: str) -> Answer:
        """Recognise the video of an address; raises `UserError`."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            path, _ = web_video.fetch(url.strip(), Path(folder), self.limits.downloads)
            return self.recognise(path, name, url.strip())

    def recognise(self, path: Path, name: str, source: str | None = None) -> Answer:
        """Recognise a video that was uploaded.

        Args:
            path: the file.
            name: of the model.
            source: what to call it; the file's name by default.

        Raises:
            UserError: it is no video, or more than the limits allow; one line.
        """
        recogniser = self.recogniser(name)
        source = source or path.name
        try:
            self._check(path)
            begun = time.perf_counter()
            prediction = predict(recogniser, path, Settings(), source)
            spent = time.perf_counter() - begun
            film = Path(tempfile.mkdtemp(dir=self.films)) / "recognised.mp4"
            annotation.annotate(prediction, recogniser, path, film)
            frames, n_frames = _seen(recogniser, path, prediction)
        except video.UnreadableVideoError as error:
            raise UserError(
                f"Expected a video. Received: {source}, {error}. Try another file."
            ) from None
        return Answer(prediction, frames, film, spent * 1000, n_frames / spent)

    def _check(self, path: Path) -> None:
        limits = self.limits
        megabytes = path.stat().st_size / 1e6
        facts = []
        if megabytes > limits.megabytes:
            facts.append(f"{megabytes:.0f} MB, more than {limits.megabytes:g}")
        else:
            capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
            size = [capture.get(p) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)]
            capture.release()
            # Before anything decodes: what the header does not tell is counted, not believed.
            minutes, n_frames = _extent(path)
            if size[0] * size[1] > limits.megapixels * 1e6:
                facts.append(f"{size[0]:.0f} x {size[1]:.0f} pixels, too many")
            elif minutes > limits.minutes:
                facts.append(f"{minutes:.1f} minutes, more than {limits.minutes:g}")
            elif n_frames > limits.frames:
                facts.append(f"{n_frames} frames, more than {limits.frames}")
        if facts:
            raise UserError(
                f"Expected a smaller video. Received: {facts[0]}. Cut it or scale it down."
            )

    def look(self, visitor: str, frame: np.ndarray, name: str, now: float) -> Glance:
        """Take a frame of a visitor's camera.

        Args:
            visitor: who.
            frame: uint8 (H, W, 3) RGB.
            name: of the model; another one than before begins anew.
            now: seconds, of a clock that never goes back.

        Raises:
            UserError: all places are taken.
        """
        recogniser = self.recogniser(name)
        with self._lock:
            for other in [v for v, live in self._lives.items() if now - live.seen > _IDLE]:
                del self._lives[other]
            live = self._lives.get(visitor)
            if live is None or live.model != name:
                if live is None and len(self._lives) >= self.limits.lives:
                    raise UserError(
                        f"Expected at most {self.limits.lives} cameras at a time. Received: one "
                        "more. Come back in a minute."
                    )
                live = Live(name, Stream(recogniser), Smoother(Smoothing()), now, now)
                self._lives[visitor] = live
        # Two frames of one camera may be under way at once, and the later one overtake.
        with live.lock:
            live.frames += 1
            live.seen = now = max(now, live.seen)
            live.stream.push(now, frame)
            smoothed = live.smoother.update(live.stream.answer())
            label = live.smoother.label
            return Glance(
                UNKNOWN if label is None else recogniser.classes[label],
                smoothed,
                live.stream.milliseconds[-1],
                live.frames / max(now - live.began, 0.1),
                min((now - live.began) / live.stream.seconds, 1.0),
            )

    def leave(self, visitor: str) -> None:
        """Forget a visitor's camera."""
        with self._lock:
            self._lives.pop(visitor, None)

    def uploaded(self, path: str) -> Path:
        """Return the file that a visitor uploaded; a request may name any other.

        Raises:
            UserError: it was not uploaded.
        """
        file = Path(path).resolve()
        if not file.is_relative_to(self.uploads) or not file.is_file():
            raise UserError(
                "Expected a file that was uploaded. Received: another path. Upload it first."
            )
        return file

    def sweep(self) -> None:
        """Delete what visitors left behind."""
        old = time.time() - self.limits.keep_seconds
        examples = {(path.name, path.stat().st_size) for path in self.examples}
        for file in [*self.uploads.rglob("*"), *self.films.rglob("*")]:
            with contextlib.suppress(OSError):  # used up meanwhile, or a folder that is not empty
                facts = file.stat()
                if facts.st_mtime > old or (file.name, facts.st_size) in examples:
                    continue
                file.rmdir() if file.is_dir() else file.unlink()

    @property
    def uploads(self) -> Path:
        """The folder that Gradio keeps files in."""
        return self._folder("uploads")

    @property
    def films(self) -> Path:
        """The folder of videos with labels."""
        return self._folder("films")

    def _folder(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir(exist_ok=True)
        return path

    def close(self) -> None:
        """Delete all files."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _extent(path: Path) -> tuple[float, int]:
    """Return the minutes and frames of a video by its packets, which costs no decoding.

    A header may say anything, and a hundred megabytes hold days of a still picture.
    """
    import av

    times, n, rate = [], 0, 25.0
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            rate = float(stream.average_rate or rate)
            for packet in container.demux(stream):
                if packet.size:
                    n += 1
                    if packet.pts is not None:
                        times.append(float(packet.pts * packet.time_base))
    except (av.error.FFmpegError, LookupError):
        pass  # no video, or one that breaks off; who decodes it says so
    if not n:
        return 0.0, 0
    seconds = max(times) - min(times) if times else (n - 1) / rate
    return (seconds + 1 / rate) / 60, n


def _seen(recogniser: Recogniser, path: Path, prediction: Prediction) -> tuple[np.ndarray, int]:
    """Return the frames that the network saw, one a segment of a timeline; and how many it has."""
    if prediction.kind == CLIP:
        frames, facts = video.read_clip(path, *recogniser.shape)
        return frames, facts.n_frames
    middles = [(s.start + s.end) / 2 for s in prediction.segments][:40]
    found, n = [], 0
    for seconds, frame in video.timed(path, *recogniser.shape[1:]):
        n += 1
        if len(found) < len(middles) and seconds >= middles[len(found)]:
            found.append(frame)
    return np.array(found), n
