"""Segments as subtitles: SubRip (.srt) and WebVTT (.vtt)."""

from collections.abc import Sequence

from har.predictor.timeline import Segment


def srt(segments: Sequence[Segment], classes: Sequence[str]) -> str:
    """Return SubRip text; unknown stretches have no line.

    Args:
        segments: in order.
        classes: names of the labels.
    """
    cues = enumerate(_cues(segments, classes), start=1)
    return "\n".join(
        f"{n}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{text}\n"
        for n, (start, end, text) in cues
    )


def vtt(segments: Sequence[Segment], classes: Sequence[str]) -> str:
    """Return WebVTT text; unknown stretches have no line. Arguments as in `srt`."""
    # WebVTT takes these three for markup.
    safe = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
    cues = (
        f"\n{_clock(start, '.')} --> {_clock(end, '.')}\n{text.translate(safe)}\n"
        for start, end, text in _cues(segments, classes)
    )
    return "WEBVTT\n" + "".join(cues)


def _cues(segments: Sequence[Segment], classes: Sequence[str]) -> list[tuple[float, float, str]]:
    return [
        (segment.start, segment.end, f"{classes[segment.label]} {segment.probability:.0%}")
        for segment in segments
        if segment.label is not None
    ]


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"
