"""One run of `har predict`: sources in, answers out; bad files are named and skipped."""

import contextlib
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from har.clips import segments, video
from har.errors import UserError
from har.predictor import annotation, outputs, sources, web_video
from har.predictor.live import EVERY, Stream
from har.predictor.prediction import TIMELINE, Prediction, Settings, of_windows, predict, top
from har.predictor.recogniser import Recogniser
from har.predictor.timeline import UNKNOWN


@dataclass(frozen=True)
class Outputs:
    """Where the answers go: CSV holds all segments, the other files are of one video."""

    top: int = 5  # classes to show
    as_json: bool = False  # on standard output instead of tables
    csv: Path | None = None
    srt: Path | None = None
    video: Path | None = None

    def check(self, sources: Sequence[str]) -> None:
        """Raise a `UserError` for what cannot be written, before hours are spent on it."""
        files = {n: p for n in ("csv", "srt", "video") if (p := getattr(self, n))}
        for option, path in files.items():
            if problem := _problem(path.resolve(), sources):
                raise UserError(
                    f"Expected a file to write for --{option} at {path}. Received: {problem}. "
                    "Name another."
                )
        if self.video:
            annotation.check_writable(self.video)
        asked = [name for name in files if name != "csv"]
        if asked and (len(sources) > 1 or Path(sources[0]).is_dir()):
            raise UserError(
                f"Expected one video for --{asked[0]}. Received: {', '.join(sources)}. "
                "Name one file, or write --csv, which holds many."
            )


@dataclass
class Session:
    """The model, what is asked of it, and the answers so far."""

    recogniser: Recogniser
    settings: Settings
    outputs: Outputs
    predictions: list[Prediction] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)  # source and reason

    def run(self, sources: Sequence[str]) -> None:
        """Recognise what happens in files, folders and addresses, and write the outputs.

        A `UserError` names a source that could not be answered; the outputs hold the others.
        """
        _print_any_name()
        unanswered, to = [], self.outputs
        for source in sources:
            name, before = segments.printable(source), len(self.predictions)
            try:
                self._run_one(source, name)
            except UserError as error:
                self.failures.append((name, str(error)))
            if len(self.predictions) == before:
                unanswered.append(name)
        if to.as_json:
            found = self.predictions, self.failures
            print(outputs.json_text(*found, self.recogniser, to.top))
        elif len(self.predictions) > 1:
            counts = Counter(prediction.label for prediction in self.predictions).most_common()
            print(f"{len(self.predictions)} videos:", ", ".join(f"{n} {c}" for c, n in counts))
        outputs.write(self.predictions, to.csv, to.srt)
        if unanswered and len(self.failures) == 1:
            name, reason = self.failures[0]
            if reason.endswith("."):  # a whole sentence
                raise UserError(reason)
            raise UserError(
                f"Expected a video at {name}. Received: {reason}. "
                "Convert it to MP4 (H.264), or name another file."
            )
        for name, reason in self.failures:
            print(f"Not recognised: {name}: {reason}", file=sys.stderr)
        if unanswered:
            raise UserError(
                f"{len(unanswered)} of {len(sources)} sources gave no video: "
                f"{', '.join(unanswered)}. The reasons are above."
            )

    def _run_one(self, source: str, name: str) -> None:
        if source == "-" or web_video.is_url(source):
            bounds = web_video.Bounds()
            with tempfile.TemporaryDirectory(prefix="har-") as folder:
                if source == "-":
                    (path := Path(folder, "video")).write_bytes(sys.stdin.buffer.read())
                else:
                    path = web_video.fetch(source, Path(folder), bounds)
                self._recognise(path, source, bounds.minutes)
            return
        paths = sources.files_of(source)
        for path in tqdm(paths, name, unit="video", disable=True if len(paths) == 1 else None):
            self._recognise(path, segments.printable(path.as_posix()))

    def _recognise(self, path: Path, name: str, minutes: float | None = None) -> None:
        try:
            if minutes and video.length(path) > minutes * 60:
                raise video.UnreadableVideoError(f"longer than {minutes:g} minutes")
            prediction = predict(self.recogniser, path, self.settings, name)
            if self.outputs.video:
                annotation.annotate(prediction, path, self.outputs.video)
        except (video.UnreadableVideoError, OSError) as error:
            self.failures.append((name, getattr(error, "strerror", None) or str(error)))
            return
        if not self.outputs.as_json:
            if not self.predictions:
                tqdm.write(self.recogniser.describe())
            tqdm.write(outputs.table(prediction, self.outputs.top))
        self.predictions.append(prediction)

    def watch(self, camera: sources.Camera, seconds: float | None = None) -> None:
        """Recognise what a camera sees, until Ctrl-C or for `seconds`.

        A `UserError` says that it gave no more frames; the outputs hold what it saw.
        """
        _print_any_name()
        recogniser, to = self.recogniser, self.outputs
        if not to.as_json:
            print(recogniser.describe(), flush=True)
        stream, last = Stream(recogniser, self.settings.window), None
        spans: list[tuple[float, float]] = []
        rows: list[np.ndarray] = []
        label, probability, due = None, 0.0, 0.0
        # Users leave with Ctrl-C, and what they asked for is written then.
        film = to.video and annotation.AnnotatedVideo(to.video)
        with film or contextlib.nullcontext() as written, contextlib.suppress(KeyboardInterrupt):
            try:
                for at, frame in camera.frames(seconds):
                    stream.push(at, frame)
                    row = stream.answer() if at >= due - 1e-3 else None
                    if row is not None and not (stream.slow and row is last):
                        last, due = row, at + EVERY
                        rows.append(np.append(row, stream.familiar))
                        spans.append((max(at - stream.seconds, 0.0), at))
                        shares = dict(zip(recogniser.names, row.tolist(), strict=True))
                        probability = row.max() if stream.label == UNKNOWN else shares[stream.label]
                        if to.as_json:
                            self._print_json(at, stream.label, row, stream.milliseconds[-1])
                        elif stream.label != label:
                            line = f"{outputs.clock(at):>8}  {stream.label}  {probability:.0%}"
                            print(line, flush=True)
                        label = stream.label
                    if written:
                        written.write(at, frame, stream.label, probability)
            finally:
                if rows:
                    seen = of_windows(recogniser, camera.name, TIMELINE, spans, np.stack(rows))
                    self.predictions.append(seen)
                    outputs.write(self.predictions, to.csv, to.srt)

    def _print_json(self, at: float, label: str, row: np.ndarray, milliseconds: float) -> None:
        answer = {
            "model": self.recogniser.name,
            "description": self.recogniser.describe(),
            "seconds": round(at, 3),
            "class": label,
            "top": top(row, self.recogniser.names, self.outputs.top),
            "milliseconds": round(milliseconds, 3),
        }
        print(json.dumps(answer, ensure_ascii=False), flush=True)


def _print_any_name() -> None:
    # A terminal without a sign (cp1252) shows its number instead of ending the run.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")


def _problem(target: Path, sources: Sequence[str]) -> str | None:
    folder = next(parent for parent in target.parents if parent.exists())
    if target.is_dir():
        return "a folder"
    if target in [Path(source).resolve() for source in sources]:
        return "the video itself, which would be lost"
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return "a place that cannot be written to"
    return None
