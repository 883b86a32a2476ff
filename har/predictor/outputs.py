"""Predictions as people and programs read them: a table, CSV, JSON, SubRip."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from har import files
from har.predictor.prediction import CLIP, Prediction, as_json, likeliest, name_of
from har.predictor.recogniser import Recogniser
from har.predictor.timeline import UNKNOWN, Segment

CSV_COLUMNS = ("source", "start", "end", "class", "probability")
_BAR = 24


def table(prediction: Prediction, k: int) -> str:
    """Return a prediction as lines for the screen: the `k` likeliest classes, or the segments."""
    lines = [f"{prediction.source}  ({prediction.seconds:.1f} s)"]
    if prediction.kind == CLIP:
        if prediction.segments[0].label is None:
            lines.append(f"  {UNKNOWN}: no class is likely enough. Likeliest:")
        best = likeliest(prediction.overall, prediction.names, k)
        wide = max(len(name) for name, _ in best)
        for name, probability in best:
            bar = _block() * round(probability * _BAR)
            lines.append(f"  {name:{wide}} {probability:6.1%}  {bar}".rstrip())
        return "\n".join(lines)
    wide = max(len(name_of(segment, prediction.names)) for segment in prediction.segments)
    for segment in prediction.segments:
        span = f"{clock(segment.start):>8} to {clock(segment.end):>8}"
        name = name_of(segment, prediction.names)
        lines.append(f"  {span}  {name:{wide}} {segment.probability:6.1%}")
    return "\n".join(lines)


def json_text(
    predictions: Sequence[Prediction],
    failures: Sequence[tuple[str, str]],
    recogniser: Recogniser,
    k: int,
) -> str:
    """Return all predictions as one JSON object; `failures` are sources and reasons."""
    answer = {
        "model": recogniser.name,
        "description": recogniser.describe(),
        "classes": recogniser.names,
        "predictions": [as_json(prediction, k) for prediction in predictions],
        "failed": [{"source": source, "reason": reason} for source, reason in failures],
    }
    return json.dumps(answer, indent=1, ensure_ascii=False)


def write(predictions: Sequence[Prediction], csv: Path | None, srt: Path | None) -> None:
    """Write the files that are asked for: all segments as CSV, those of the first as subtitles."""
    if not predictions:
        return
    if csv:
        rows = [
            (p.source, *(f"{t:.3f}" for t in s[:2]), name_of(s, p.names), f"{s.probability:.6f}")
            for p in predictions
            for s in p.segments
        ]
        files.write_csv(csv, CSV_COLUMNS, rows)
    if srt:
        files.write_text(srt, srt_text(predictions[0].segments, predictions[0].names))


def srt_text(segments: Sequence[Segment], names: Sequence[str]) -> str:
    """Return segments as SubRip; unknown stretches have no line."""

    def subtitle_clock(seconds: float) -> str:
        minutes, rest = divmod(round(seconds * 1000), 60_000)
        time = f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}"
        return f"{time},{rest % 1000:03}"

    known = [segment for segment in segments if segment.label is not None]
    return "\n".join(
        f"{n}\n{subtitle_clock(start)} --> {subtitle_clock(end)}\n{names[label]} {share:.0%}\n"
        for n, (start, end, label, share) in enumerate(known, start=1)
    )


def clock(seconds: float) -> str:
    """Return seconds as `m:ss.d`, or `h:mm:ss.d` from an hour on."""
    minutes, tenths = divmod(round(seconds * 10), 600)
    hours, minutes = divmod(minutes, 60)
    time = f"{tenths // 10:02}.{tenths % 10}"
    return f"{hours}:{minutes:02}:{time}" if hours else f"{minutes}:{time}"


def _block() -> str:
    try:
        "█".encode(sys.stdout.encoding or "utf-8")
    except (UnicodeError, LookupError):
        return "#"
    return "█"
