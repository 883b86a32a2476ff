"""The page: upload or paste an address, or switch the camera on, and see what is recognised."""

import html
import time

import gradio as gr
import numpy as np

from har.app.service import Answer, Desk
from har.errors import UserError
from har.predictor.outputs import clock
from har.predictor.prediction import CLIP, as_json, name_of

_TOP = 5
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")  # Paul Tol's bright

WARNING = (
    "It knows **{n} actions** and nothing else: {classes}. Whatever else it is shown, it calls "
    "one of these or *unknown*."
)


def build(desk: Desk) -> gr.Blocks:
    """Return the page.

    Args:
        desk: which answers.
    """
    names = desk.names()
    best = desk.recogniser(names[0])
    with gr.Blocks(title="What are they doing?", analytics_enabled=False) as page:
        gr.Markdown("# What are they doing?")
        notice = gr.Markdown(_warning(best.classes), elem_id="warning")
        model = gr.Dropdown(names, value=names[0], label="Model", elem_id="model")
        with gr.Tab("Video"), gr.Row():
            with gr.Column(min_width=280):
                upload = gr.File(
                    label="Drop a video here", file_types=["video"], elem_id="upload", height=160
                )
                url = gr.Textbox(
                    label="Or an address", placeholder="https://…", elem_id="url", max_lines=1
                )
                go = gr.Button("Recognise", variant="primary", elem_id="go")
                if desk.examples:
                    gr.Examples(
                        [[str(path)] for path in desk.examples],
                        [upload],
                        example_labels=[path.stem for path in desk.examples],
                        label="Clips of the data set",
                    )
            with gr.Column(min_width=280, scale=2):
                said = gr.Markdown(elem_id="said")
                label = gr.Label(
                    num_top_classes=_TOP, label="Likeliest", show_heading=False, elem_id="label"
                )
                film = gr.Video(label="With labels", elem_id="film", interactive=False)
                strip = gr.HTML(elem_id="timeline")
                speed = gr.Markdown(elem_id="speed")
                seen = gr.Gallery(
                    label="What the network saw", columns=5, height=260, elem_id="seen"
                )
        with gr.Tab("Camera", elem_id="camera-tab"), gr.Row():
            camera = gr.Image(
                sources=["webcam"],
                streaming=True,
                label="Camera",
                elem_id="camera",
                min_width=280,
                # What is sent is what is shown, and training saw the world as it is.
                webcam_options=gr.WebcamOptions(mirror=False),
            )
            with gr.Column(min_width=280):
                now = gr.Markdown(elem_id="now")
                live = gr.Label(
                    num_top_classes=_TOP, label="Likeliest now", show_heading=False, elem_id="live"
                )
                pace = gr.Markdown(elem_id="pace")
        with gr.Tab("How good is it?"):
            card = gr.Markdown(_card(desk, names[0]), elem_id="card")
            confusion = _confusion(desk, names[0])
            picture = gr.Image(
                confusion, label="Test clips: actual and predicted", visible=bool(confusion)
            )

        shown = [said, label, film, strip, speed, seen]
        bounded = {"concurrency_id": "videos", "concurrency_limit": desk.limits.jobs}

        def of_file(path: str | None, name: str):
            return _shown(desk, name, _answer(desk, path, None, name)) if path else [None] * 6

        def of_either(path: str | None, address: str, name: str):
            return _shown(desk, name, _answer(desk, path, address, name))

        # A file or an example is looked at as soon as it is there.
        upload.change(of_file, [upload, model], shown, api_visibility="private", **bounded)
        gr.on(
            [go.click, url.submit],
            of_either,
            [upload, url, model],
            shown,
            api_visibility="private",
            **bounded,
        )

        def look(frame: np.ndarray | None, name: str, request: gr.Request):
            if frame is None:
                return gr.skip(), gr.skip(), gr.skip()
            try:
                glance = desk.look(str(request.session_hash), frame, name, time.monotonic())
            except UserError as error:
                # Sixteen frames a second: a notice for each would bury the page.
                return html.escape(str(error)), None, ""
            classes = desk.recogniser(name).classes
            wait = "" if glance.filled >= 1 else f" · first window {glance.filled:.0%} full"
            return (
                _heading(glance.label),
                _bars(classes, glance.probabilities),
                f"{glance.milliseconds:.1f} ms an answer · {glance.frames_per_second:.0f} frames a "
                f"second{wait}",
            )

        camera.stream(
            look,
            [camera, model],
            [now, live, pace],
            stream_every=0.06,
            concurrency_id="cameras",
            concurrency_limit=2,
            show_progress="hidden",
            api_visibility="private",
        )

        def leave(request: gr.Request) -> None:
            desk.leave(str(request.session_hash))

        page.unload(leave)

        def choose(name: str):
            try:
                recogniser = desk.recogniser(name)
            except UserError as error:
                raise gr.Error(str(error), duration=20, print_exception=False) from None
            path = _confusion(desk, name)
            shown = gr.Image(path, visible=bool(path))
            return _warning(recogniser.classes), _card(desk, name), shown

        model.change(choose, model, [notice, card, picture], api_visibility="private")

        # The programs' door: a file or an address in, JSON out.
        file = gr.File(visible=False)
        address = gr.Textbox(visible=False)
        result = gr.JSON(visible=False)

        def recognise(file: str | None, url: str, model: str):
            answer = _answer(desk, file, url, model)
            recogniser = desk.recogniser(model)
            found = as_json(answer.prediction, recogniser, _TOP)
            return {"model": model, **found, "milliseconds": round(answer.milliseconds, 3)}

        gr.Button(visible=False).click(
            recognise, [file, address, model], result, api_name="recognise", **bounded
        )
    return page


def _answer(desk: Desk, path: str | None, url: str | None, name: str) -> Answer:
    try:
        if url and url.strip():
            return desk.recognise_url(url, name)
        if path:
            return desk.recognise(desk.uploaded(path), name)
    except UserError as error:
        raise gr.Error(str(error), duration=20, print_exception=False) from None
    raise gr.Error(
        "Expected a file or an address. Received: neither. Drop a video.", print_exception=False
    )


def _shown(desk: Desk, name: str, answer: Answer) -> list:
    classes = desk.recogniser(name).classes
    prediction = answer.prediction
    first = prediction.segments[0]
    clip = prediction.kind == CLIP
    return [
        _heading(name_of(first, classes) if clip else f"{len(prediction.segments)} stretches"),
        _bars(classes, prediction.overall),
        str(answer.film),
        _timeline(answer, classes),
        f"{prediction.seconds:.1f} s of video in {answer.milliseconds / 1000:.2f} s · "
        f"{answer.frames_per_second:.0f} frames a second",
        list(answer.frames),
    ]


def _heading(label: str) -> str:
    return f"## {html.escape(label)}"


def _bars(classes: list[str], probabilities: np.ndarray) -> dict[str, float]:
    return dict(zip(classes, map(float, probabilities), strict=True))


def _timeline(answer: Answer, classes: list[str]) -> str:
    """Draw the segments as a strip; names come from folders and so are escaped."""
    prediction = answer.prediction
    if prediction.kind == CLIP:
        return ""
    blocks, rows = [], []
    for segment in prediction.segments:
        name = html.escape(name_of(segment, classes))
        colour = "#bbbbbb" if segment.label is None else _COLOURS[segment.label % len(_COLOURS)]
        share = 100 * (segment.end - segment.start) / prediction.seconds
        when = f"{clock(segment.start)} to {clock(segment.end)}"
        blocks.append(
            f'<div title="{name}, {when}" style="width:{share:.3f}%;background:{colour}"></div>'
        )
        rows.append(
            f'<tr><td style="color:{colour}">■</td><td>{when}</td><td>{name}</td>'
            f"<td>{segment.probability:.0%}</td></tr>"
        )
    return (
        f'<div style="display:flex;height:28px;border-radius:6px;overflow:hidden">'
        f"{''.join(blocks)}</div>"
        f'<div style="max-height:220px;overflow:auto"><table>{"".join(rows)}</table></div>'
    )


def _warning(classes: list[str]) -> str:
    return WARNING.format(n=len(classes), classes=", ".join(map(html.escape, classes)))


def _card(desk: Desk, name: str) -> str:
    card = desk.recogniser(name).card
    figures = desk.figures().get(name)
    lines = [f"### {html.escape(name)}"]
    if figures:
        lines.append(
            f"On {figures['n_test']} test clips of {figures['n_groups']} source videos that it "
            f"never saw, it is right in **{figures['accuracy']:.1%}**; in other such videos "
            f"expect **{figures['accuracy_low']:.0%} to {figures['accuracy_high']:.0%}** (95 % "
            f"interval over source videos). Guessing is right in {figures['chance']:.1%}."
        )
    else:
        lines.append("It has not been tested here: run `dvc repro`.")
    lines.append(
        "The figures hold for videos like those of the data set: other cameras, places and people "
        "are harder. Do not decide anything about a person by it."
    )
    facts = []
    for key, value in card.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items())
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        facts.append(f"- {key.replace('_', ' ')}: {html.escape(str(value))}")
    return "\n\n".join([*lines, "\n".join(facts)])


def _confusion(desk: Desk, name: str) -> str | None:
    path = desk.metrics.parent / name / "confusion.png"
    return str(path) if name in desk.names() and path.exists() else None
