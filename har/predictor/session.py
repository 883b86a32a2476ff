"""One run of `har predict`: sources in, answers out; bad files are named and passed over."""

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from har.clips import video
from har.errors import UserError
from har.predictor import annotation, outputs, sources, web_video
from har.predictor.camera import Camera
from har.predictor.live import Stream
from har.predictor.prediction import TIMELINE, Prediction, Settings, predict
from har.predictor.recogniser import Recogniser
from har.predictor.timeline import UNKNOWN, Smoother, segments

_EVERY = 0.2  # seconds between two answers on a camera


@dataclass(frozen=True)
class Outputs:
    """Where the answers go.

    Attributes:
        top: how many of the likeliest classes to show.
        as_json: JSON on standard output instead of tables.
        csv: file of all segments.
        srt: subtitles of the one video.
        vtt: the same as WebVTT.
        video: the one video with its labels drawn on it.
    """

    top: int = 5
    as_json: bool = False
    csv: Path | None = None
    srt: Path | None = None
    vtt: Path | None = None
    video: Path | None = None

    def check(self, sources: Sequence[str]) -> None:
        """Raise a `UserError` for what cannot be written, before hours are spent on it."""
        files = {n: p for n in ("csv", "srt", "vtt", "video") if (p := getattr(self, n))}
        for option, path in files.items():
            _check_output(option, path, sources)
        if self.video:
            annotation.check_writable(self.video)
        asked = [name for name in ("srt", "vtt", "video") if getattr(self, name)]
        if asked and (len(sources) > 1 or Path(sources[0]).is_dir()):
            raise UserError(
                f"Expected one video for --{asked[0]}. Received: {', '.join(sources)}. "
                "Name one file, or write --csv, which holds many."
            )


@dataclass
class Session:
    """The answers so far.

    Attributes:
        recogniser: the model.
        settings: how videos are looked at.
        outputs: where the answers go.
        bounds: of downloads.
        predictions: of the videos that could be read.
        failures: the others: source and reason.
    """

    recogniser: Recogniser
    settings: Settings
    outputs: Outputs
    bounds: web_video.Bounds
    predictions: list[Prediction] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)

    def run(self, sources: Sequence[str]) -> None:
        """Recognise what happens in files, folders and addresses, and write the outputs.

        Raises:
            UserError: a source could not be answered; what could be is written all the same.
        """
        self.outputs.check(sources)
        unanswered = []
        for name in sources:
            before = len(self.predictions)
            try:
                self._run_one(name)
            except UserError as error:
                self.failures.append((name, str(error)))
            if len(self.predictions) == before:
                unanswered.append(name)
        if self.outputs.as_json:
            arguments = (self.predictions, self.failures, self.recogniser, self.outputs.top)
            print(outputs.json_text(*arguments))
        self._write()
        if unanswered and len(self.failures) == 1:
            name, reason = self.failures[0]
            raise UserError(reason if reason.startswith("Expected") else _unreadable(name, reason))
        for name, reason in self.failures:
            print(f"Not recognised: {name}: {reason}", file=sys.stderr)
        if unanswered:
            raise UserError(
                f"Expected a video at each of {len(sources)} sources. Received: none at "
                f"{', '.join(unanswered)}. The reasons are above."
            )

    def _run_one(self, name: str) -> None:
        paths = sources.files_of(name)
        if paths is None:
            with tempfile.TemporaryDirectory(prefix="har-") as folder:
                path, _ = web_video.fetch(name, Path(folder), self.bounds)
                self._recognise(path, name)
            return
        alone = len(paths) == 1
        for path in tqdm(paths, desc=name, unit="video", disable=True if alone else None):
            self._recognise(path, path.as_posix())

    def _recognise(self, path: Path, name: str) -> None:
        try:
            if web_video.is_url(name) and video.length(path) > self.bounds.minutes * 60:
                raise video.UnreadableVideoError(f"longer than {self.bounds.minutes:g} minutes")
            prediction = predict(self.recogniser, path, self.settings, name)
            if self.outputs.video:
                annotation.annotate(prediction, self.recogniser, path, self.outputs.video)
        except video.UnreadableVideoError as error:
            self.failures.append((name, str(error)))
            return
        except OSError as error:
            self.failures.append((name, error.strerror or str(error)))
            return
        self.predictions.append(prediction)
        if not self.outputs.as_json:
            tqdm.write(outputs.table(prediction, self.recogniser, self.outputs.top))

    def watch(self, camera: Camera, seconds: float | None = None) -> None:
        """Recognise what a camera sees, until Ctrl-C.

        Prints a line when the label changes; with JSON, a line for each answer.

        Args:
            camera: that is on.
            seconds: stop after this time.

        Raises:
            UserError: the camera went away; what it saw is written all the same.
        """
        window = self.settings.window or self.recogniser.seconds
        stream = Stream(self.recogniser, window)
        if stream.whole_windows:
            print(
                f"{self.recogniser.name} answers from whole windows: {stream.whole_windows}.",
                file=sys.stderr,
            )
        smoother = Smoother(self.settings.smoothing)
        spans: list[tuple[float, float]] = []
        rows: list[np.ndarray] = []
        label, probability, shown, due = UNKNOWN, 0.0, None, 0.0
        # Ctrl-C is how one leaves, so what was asked for is written then.
        with _annotated(self.outputs.video) as written, contextlib.suppress(KeyboardInterrupt):
            try:
                for at, frame in camera.frames(seconds):
                    stream.push(at, frame)
                    if at >= due - 1e-3:
                        due = at + _EVERY
                        rows.append(stream.answer())
                        spans.append((max(at - window, 0.0), at))
                        smoothed = smoother.update(rows[-1])
                        best = int(smoothed.argmax()) if smoother.label is None else smoother.label
                        label = UNKNOWN if smoother.label is None else self.recogniser.classes[best]
                        probability = float(smoothed[best])
                        milliseconds = stream.milliseconds[-1]
                        self._say(at, label, shown, smoothed, probability, milliseconds)
                        shown = label
                    if written:
                        written.write(at, frame, label, probability)
            finally:
                self._keep(camera.name, spans, rows)

    def _say(
        self,
        at: float,
        label: str,
        shown: str | None,
        smoothed: np.ndarray,
        probability: float,
        milliseconds: float,
    ) -> None:
        if self.outputs.as_json:
            best = self.recogniser.top(smoothed, self.outputs.top)
            answer: dict[str, Any] = {
                "seconds": round(at, 3),
                "class": label,
                "top": [{"class": name, "probability": round(p, 8)} for name, p in best],
                "milliseconds": round(milliseconds, 3),
            }
            print(json.dumps(answer, ensure_ascii=False), flush=True)
        elif label != shown:
            print(f"{outputs.clock(at):>8}  {label}  {probability:.0%}", flush=True)

    def _keep(self, name: str, spans: list[tuple[float, float]], rows: list[np.ndarray]) -> None:
        if rows:
            probabilities = np.stack(rows)
            found = segments(spans, probabilities, self.settings.smoothing)
            self.predictions.append(Prediction(name, TIMELINE, spans, probabilities, found))
            self._write()

    def _write(self) -> None:
        if self.predictions:
            to = self.outputs
            outputs.write(
                self.predictions, self.recogniser.classes, csv=to.csv, srt=to.srt, vtt=to.vtt
            )


@contextlib.contextmanager
def _annotated(output: Path | None) -> Iterator[annotation.AnnotatedVideo | None]:
    if output is None:
        yield None
        return
    # A camera that went away leaves what it filmed until then.
    lost: UserError | None = None
    with annotation.AnnotatedVideo(output) as written:
        try:
            yield written
        except UserError as error:
            lost = error
    if lost:
        raise lost


def _check_output(option: str, path: Path, sources: Sequence[str]) -> None:
    target = path.resolve()
    folder = next(parent for parent in target.parents if parent.exists())
    received = None
    if target.is_dir():
        received = "a folder"
    elif target in [Path(source).resolve() for source in sources]:
        received = "the video itself, which would be lost"
    elif not folder.is_dir() or not os.access(folder, os.W_OK):
        received = "a place that cannot be written to"
    if received:
        raise UserError(
            f"Expected a file to write for --{option} at {path}. Received: {received}. "
            "Name another."
        )


def _unreadable(name: str, reason: str) -> str:
    return f"Expected a video at {name}. Received: {reason}. Name a file that a player plays."
