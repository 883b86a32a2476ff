"""The page: a video by upload or address, or the camera, and what is recognised in it."""

import contextlib
import html
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from har.app.service import Answer, Service
from har.errors import UserError
from har.predictor import markup
from har.predictor.prediction import CLIP

_MOST_CLASSES = 20  # named in the notice
# Python's table of file types does not know these as videos.
_VIDEOS = [
    *("video", ".mkv", ".mts", ".m2ts", ".ts", ".3gp", ".3g2"),
    *(".vob", ".flv", ".wmv", ".asf", ".mpg", ".ogv", ".mjpeg"),
]


def build(service: Service) -> gr.Blocks:
    """Return the page that shows the answers of `service`."""
    names, limits = service.names(), service.limits
    bound = f"up to {limits.megabytes:g} MB and {limits.minutes:g} minutes"
    bars = {"num_top_classes": 5, "show_heading": False}
    with gr.Blocks(title="What are they doing?", analytics_enabled=False) as page:
        gr.Markdown("# What are they doing?")
        notice = gr.Markdown(_notice(service, names[0]), elem_id="warning")
        model = gr.Dropdown(names, value=names[0], label="Model", elem_id="model")
        with gr.Tab("Video"), gr.Row():
            with gr.Column(min_width=280):
                upload = gr.File(
                    label=f"Video, {bound}", file_types=_VIDEOS, elem_id="upload", height=160
                )
                url = gr.Textbox(
                    label="Or an address", max_lines=1, visible=not limits.public, elem_id="url"
                )
                go = gr.Button("Recognise", variant="primary", elem_id="go")
                if service.examples:
                    clips = [[str(path)] for path in service.examples]
                    labels = [path.stem for path in service.examples]
                    told = "Clips of the data set"
                    gr.Examples(clips, [upload], label=told, example_labels=labels)
            with gr.Column(min_width=280, scale=2):
                said = gr.Markdown(elem_id="said")
                label = gr.Label(label="Likeliest", elem_id="label", **bars)
                strip = gr.HTML(elem_id="timeline")
                film = gr.Video(label="With labels", elem_id="film", interactive=False)
                speed = gr.Markdown(elem_id="speed")
                seen = gr.Gallery(
                    label="Frames that the network saw", columns=5, height=260, elem_id="seen"
                )
        with gr.Tab("Camera", elem_id="camera-tab"), gr.Row():
            # Training clips are not mirrored.
            webcam = gr.WebcamOptions(mirror=False)
            camera = gr.Image(
                sources=["webcam"], streaming=True, webcam_options=webcam, elem_id="camera"
            )
            with gr.Column(min_width=280):
                now = gr.Markdown(elem_id="now")
                live = gr.Label(label="Likeliest now", elem_id="live", **bars)
                pace = gr.Markdown(elem_id="pace")
        with gr.Tab("How good is it?"):
            card = gr.Markdown(_card(service, names[0]), elem_id="card")
            picture = _confusion(service, names[0])

        answer = [said, label, strip, film, speed, seen]
        private: dict[str, Any] = {"api_visibility": "private"}
        bounded = private | {"concurrency_id": "videos", "concurrency_limit": limits.jobs}

        def of_file(path: str | None, name: str) -> Iterator[list[Any]]:
            if path:
                yield from _answers(service, path, "", name)
            else:  # the file was taken away
                yield [None] * len(answer)

        def of_either(path: str | None, address: str, name: str) -> Iterator[list[Any]]:
            yield from _answers(service, path, address.strip(), name)

        # An upload empties the address, so an address that is there was given last.
        upload.upload(None, None, url, js="() => ''")
        # A file or an example is recognised as soon as it is there.
        upload.change(of_file, [upload, model], answer, **bounded)
        gr.on([go.click, url.submit], of_either, [upload, url, model], answer, **bounded)

        def look(frame: np.ndarray | None, name: str, request: gr.Request) -> tuple[Any, ...]:
            if frame is None:
                return gr.skip(), gr.skip(), gr.skip()
            visitor = str(request.session_hash)
            try:
                found, row, facts = service.look(visitor, frame, name, time.monotonic())
            except UserError as error:
                # Sixteen frames come in a second: a notice for each would cover the page.
                return html.escape(str(error)), None, ""
            shown = _bars(service.recogniser(name).names, row)
            return f"## {html.escape(found)}", shown, f"{html.escape(name)} · {facts}"

        every = {"stream_every": 0.06, "show_progress": "hidden"}
        shared = {"concurrency_id": "cameras", "concurrency_limit": 2}
        camera.stream(look, [camera, model], [now, live, pace], **every, **shared, **private)

        def leave(request: gr.Request) -> None:
            service.leave(str(request.session_hash))

        page.unload(leave)

        def choose(name: str) -> list[Any]:
            with _shown_errors():
                service.recogniser(name)
            about = [_notice(service, name), _card(service, name), _confusion(service, name)]
            return [*about, *[None] * len(answer)]  # an answer of another model goes

        model.change(choose, model, [notice, card, picture, *answer], **private)
    return page


def _confusion(service: Service, name: str) -> gr.Image:
    path = service.confusion(name)
    return gr.Image(path, label="Test clips: actual and predicted", visible=bool(path))


def _answers(service: Service, path: str | None, url: str | None, name: str) -> Iterator[list[Any]]:
    with contextlib.ExitStack() as stack:
        with _shown_errors():
            if url:
                file, source = stack.enter_context(service.downloaded(url)), url
            elif path:
                file, source = Path(path), Path(path).name
            else:
                raise UserError("There is no video yet. Upload one.")
            answer = service.recognise(file, name, source)
        shown = _shown(answer)
        yield [*shown, None, f"{_facts(answer)} · drawing the labels …", None]
        began = time.perf_counter()
        with _shown_errors():
            film, frames = service.film(answer, file)
        drawn = f"{_facts(answer)} · labels drawn in {time.perf_counter() - began:.2f} s"
        yield [*shown, str(film), drawn, list(frames)]


@contextlib.contextmanager
def _shown_errors() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise gr.Error(str(error), duration=20, print_exception=False) from None


def _shown(answer: Answer) -> list[Any]:
    prediction, recogniser = answer.prediction, answer.recogniser
    clip = prediction.kind == CLIP
    heading = prediction.label
    if not clip:
        heading = f"{len(prediction.segments)} segments"
    # Names of files and folders come from outside.
    about = html.escape(f"{prediction.source} · {recogniser.describe()}")
    return [
        f"## {html.escape(heading)}\n{about}",
        _bars(prediction.names, prediction.overall),
        "" if clip else markup.timeline(prediction),
    ]


def _facts(answer: Answer) -> str:
    return f"{answer.prediction.seconds:.1f} s of video recognised in {answer.seconds:.2f} s"


def _bars(names: list[str], probabilities: np.ndarray) -> dict[str, float]:
    return dict(zip(names, map(float, probabilities), strict=True))


def _notice(service: Service, name: str) -> str:
    classes = service.recogniser(name).classes
    named = ", ".join(map(html.escape, classes[:_MOST_CLASSES]))
    more = f" and {len(classes) - _MOST_CLASSES} more" if len(classes) > _MOST_CLASSES else ""
    return (
        f"It knows **{len(classes)} actions** and nothing else: {named}{more}. Whatever else it is "
        "shown, it calls one of these or *unknown*."
    )


def _card(service: Service, name: str) -> str:
    recogniser = service.recogniser(name)
    card, figures = recogniser.card, service.figures().get(name)
    lines = [f"### {html.escape(name)}", html.escape(recogniser.describe())]
    if figures:
        sources, over = "", "clips"
        if recogniser.dataset.get("grouped") and card.get("protocol") != "random":
            over = "source videos"
            sources = f" of {figures['n_groups']} source videos that it never saw"
            if card.get("fold", 0) is None:
                sources += " (one model a fold; this one then learnt from all clips)"
        lines.append(
            f"On {figures['n_test']} test clips{sources}, it is right in "
            f"**{figures['accuracy']:.1%}**; the 95 % interval over {over} is "
            f"**{figures['accuracy_low']:.0%} to {figures['accuracy_high']:.0%}**. Guessing is "
            f"right in {figures['chance']:.1%}. The figures hold for videos like those of the "
            "data set."
        )
    else:
        lines.append("It has not been tested here.")
    lines.append(
        "Other cameras, places and people are harder. Do not use it to decide anything about a "
        "person."
    )
    facts = []
    for key, value in sorted(card.items(), key=lambda item: item[0] == "classes"):  # long: last
        if isinstance(value, dict):
            value = [f"{k} {v}" for k, v in value.items()]
        value = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        facts.append(f"- {key.replace('_', ' ')}: {html.escape(value)}")
    return "\n\n".join([*lines, "\n".join(facts)])
