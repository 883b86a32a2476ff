"""Predictions as HTML, for notebooks and the page: bars and thumbnails, or a coloured timeline."""

import base64
import contextlib
import html
from pathlib import Path

import cv2
import numpy as np

from har.clips import video
from har.predictor.outputs import clock
from har.predictor.prediction import CLIP, Prediction
from har.predictor.timeline import UNKNOWN

_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800)  # seconds between marks of the axis
_CELL = '<td style="border:0;text-align:left;padding:0 .8em 0 0">'


def of(prediction: Prediction, k: int = 5) -> str:
    """Return a prediction as a notebook shows it, with the `k` likeliest classes of a clip."""
    about = f"{prediction.source} · {prediction.seconds:.1f} s · {prediction.model}"
    clip = prediction.kind == CLIP
    return (
        f'<div style="max-width:52em"><b>{html.escape(prediction.label)}</b><br>'
        f"<small>{html.escape(about)}</small><br>"
        f"{_thumbnails(prediction) + _bars(prediction, k) if clip else timeline(prediction)}</div>"
    )


def timeline(prediction: Prediction) -> str:
    """Return the actions as a strip with an axis, a legend and a table.

    `data-at` of the times, in seconds, and `data-seconds` of the strip let a script move a player.
    """
    total, actions = prediction.seconds, prediction.actions
    known = dict.fromkeys(action.name for action in actions if action.name != UNKNOWN)
    # Twenty hues; neighbours on the wheel differ in lightness too.
    colours = {n: f"hsl({i * 126 % 360} 65% {(38, 62)[i % 2]}%)" for i, n in enumerate(known)}
    colours[UNKNOWN] = "#8a8a8a"
    blocks = marks = legend = rows = ""
    for action in actions:
        name, colour = html.escape(action.name), colours[action.name]
        when = f"{clock(action.start)} to {clock(action.end)}"
        look = f"width:{(action.end - action.start) / total:.3%};background:{colour}"
        blocks += f'<div title="{name}, {when}" style="{look}"></div>'
        link = f'<a href="#timeline" data-at="{action.start:.3f}" style="color:inherit">{when}</a>'
        share = "" if action.name == UNKNOWN else f"{action.probability:.0%}"
        cells = _swatch(colour), link, name, share
        rows += f"<tr>{''.join(f'{_CELL}{cell}</td>' for cell in cells)}</tr>"
    step = next((s for s in _STEPS if total / s <= 8), 3600)
    for at in range(0, max(int(total), 1), step):
        look = f"position:absolute;left:{at / total:.3%};border-left:1px solid;padding-left:2px"
        marks += f'<span style="{look}">{clock(at).removesuffix(".0")}</span>'
    for name in dict.fromkeys(action.name for action in actions):
        legend += f"<span>{_swatch(colours[name])} {html.escape(name)} &ensp;</span>"
    return (
        f'<div class="strip" data-seconds="{total:.3f}" style="position:relative">'
        f'<div style="display:flex;height:28px;overflow:hidden">{blocks}</div></div>'
        f'<div style="position:relative;height:1.5em;overflow:hidden">{marks}</div>'
        f'<div>{legend}</div><div style="max-height:220px;overflow:auto" tabindex="0" '
        f'role="group" aria-label="Segments"><table>{rows}</table></div>'
    )


def _swatch(colour: str) -> str:
    return f'<i style="display:inline-block;width:.8em;height:.8em;background:{colour}"></i>'


def _bars(prediction: Prediction, k: int) -> str:
    rows = ""
    for name, probability in prediction.top(k):
        bar = f"width:{12 * probability:.2f}em;height:.8em;background:#3b76c4"
        cells = html.escape(name), f'<div style="{bar}"></div>', f"{probability:.1%}"
        rows += f"<tr>{''.join(f'{_CELL}{cell}</td>' for cell in cells)}</tr>"
    return f"<table>{rows}</table>"


def _thumbnails(prediction: Prediction) -> str:
    # Of a file that is still there: a prediction keeps no frames.
    with contextlib.suppress(video.UnreadableVideoError, OSError):
        if Path(prediction.source).is_file():
            frames, facts = video.read_clip(Path(prediction.source), 6, 96, 128)
            strip = cv2.cvtColor(np.concatenate(list(frames), axis=1), cv2.COLOR_RGB2BGR)
            data = base64.b64encode(cv2.imencode(".jpg", strip)[1].tobytes()).decode()
            shape = f"max-width:100%;aspect-ratio:{6 * facts.width}/{facts.height}"
            image = f'src="data:image/jpeg;base64,{data}" alt="Six frames, evenly picked"'
            return f'<img {image} width="576" style="{shape}">'
    return ""
