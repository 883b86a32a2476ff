"""Predictions as people and programs read them: a table, CSV, JSON, SubRip."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from har import files
from har.predictor.prediction import CLIP, Action, Prediction, as_json
from har.predictor.recogniser import Recogniser
from har.predictor.timeline import UNKNOWN

CSV_COLUMNS = ("source", "start", "end", "class", "probability")
_BAR = 24


def table(prediction: Prediction, k: int) -> str:
    """Return a prediction as lines for the screen: the `k` likeliest classes, or the segments."""
    lines = [f"{prediction.source}  ({prediction.seconds:.1f} s)"]
    if prediction.kind == CLIP:
        if prediction.segments[0].label is None:
            lines.append(f"  {UNKNOWN}: unlike the clips of all classes. Likeliest:")
        best = prediction.top(k)
        wide = max(len(name) for name, _ in best)
        for name, probability in best:
            bar = _block() * round(probability * _BAR)
            lines.append(f"  {name:{wide}} {probability:6.1%}  {bar}".rstrip())
        return "\n".join(lines)
    wide = max(len(action.name) for action in prediction.actions)
    for action in prediction.actions:
        span = f"{clock(action.start):>8} to {clock(action.end):>8}"
        share = "" if action.name == UNKNOWN else f"{action.probability:6.1%}"
        lines.append(f"  {span}  {action.name:{wide}} {share}".rstrip())
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
            (p.source, f"{a.start:.3f}", f"{a.end:.3f}", a.name, f"{a.probability:.6f}")
            for p in predictions
            for a in p.actions
        ]
        files.write_csv(csv, CSV_COLUMNS, rows)
    if srt:
        files.write_text(srt, srt_text(predictions[0].actions))


def srt_text(actions: Sequence[Action]) -> str:
    """Return actions as SubRip; unknown stretches have no line."""

    def subtitle_clock(seconds: float) -> str:
        minutes, rest = divmod(round(seconds * 1000), 60_000)
        time = f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}"
        return f"{time},{rest % 1000:03}"

    texts: list[str] = []
    for action in (action for action in actions if action.name != UNKNOWN):
        span = f"{subtitle_clock(action.start)} --> {subtitle_clock(action.end)}"
        texts.append(f"{len(texts) + 1}\n{span}\n{action.name} {action.probability:.0%}\n")
    return "\n".join(texts)


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
