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
from har.predictor import figures, markup
from har.predictor.prediction import CLIP

_MOST_CLASSES = 20  # named in the notice
_PROGRESS = gr.Progress()
_CAMERA = "Allow the camera and press Record. Its pictures go to this server, which keeps none."
_SHOWN = {
    "as_is": "the clips as they are",
    "still": "one frame of each, repeated",
    "shuffled": "their frames in random order",
    "elsewhere": "the person in another place",
}
# Python's table of file types does not know these as videos.
_VIDEOS = [
    *("video", ".mkv", ".mts", ".m2ts", ".ts", ".3gp", ".3g2"),
    *(".vob", ".flv", ".wmv", ".asf", ".mpg", ".ogv", ".mjpeg"),
]


def build(service: Service) -> gr.Blocks:
    """Return the page that shows the answers of `service`."""
    names, limits = service.names(), service.limits
    bars = {"num_top_classes": 5, "show_heading": False}
    example = str(service.examples[0]) if service.examples else None
    first: list[Any] = [None] * 8  # the answer that the page opens with
    if example:
        found = service.recognise(Path(example), names[0], Path(example).name)
        first = [*_shown(service, found)[:3], None, None, None, example, _facts(found)]
    with gr.Blocks(title="What are they doing?", analytics_enabled=False) as page:
        with gr.Row():
            with gr.Column(scale=3, min_width=200):
                gr.Markdown("# What are they doing?")
                notice = gr.Markdown(_notice(service, names[0]), elem_id="warning")
            model = gr.Dropdown(names, value=names[0], label="Model", elem_id="model")
        with gr.Tab("Video"), gr.Row():
            with gr.Column(min_width=280):
                bound = f"Video, up to {limits.megabytes:g} MB, {limits.minutes:g} minutes"
                upload = gr.File(label=bound, file_types=_VIDEOS, elem_id="upload", height=150)
                pictures = [(path.with_suffix(".jpg"), path.stem) for path in service.examples]
                look = {"columns": 3, "height": "auto", "allow_preview": False, "buttons": []}
                look |= {"label": "Clips of the data set", "show_label": False}
                clips = gr.Gallery(pictures, visible=bool(pictures), elem_id="examples", **look)
                with gr.Accordion("Or an address", open=False, visible=not limits.public):
                    url = gr.Textbox(label="Address", max_lines=1, elem_id="url")
                    go = gr.Button("Recognise", variant="primary", elem_id="go")
            with gr.Column(min_width=280, scale=2):
                said = gr.Markdown(first[0], elem_id="said")
                label = gr.Label(first[1], label="Likeliest", elem_id="label", **bars)
                strip = gr.HTML(first[2], elem_id="timeline")
                film = gr.Video(first[6], label="Video", elem_id="film", interactive=False)
                stop = gr.Button("Cancel", size="sm", elem_id="stop")
                speed = gr.Markdown(first[7], elem_id="speed")
                with gr.Row(elem_id="saved"):
                    kinds = zip(("CSV", "Subtitles", "JSON"), first[3:6], strict=True)
                    saved = [
                        gr.DownloadButton(f"⇩ {k}", f, size="sm", min_width=80) for k, f in kinds
                    ]
        with gr.Tab("Camera", elem_id="camera-tab"), gr.Row():
            # Training clips are not mirrored.
            webcam = gr.WebcamOptions(mirror=False)
            camera = gr.Image(
                sources=["webcam"], streaming=True, webcam_options=webcam, elem_id="camera"
            )
            with gr.Column(min_width=280):
                now = gr.Markdown(_CAMERA, elem_id="now")
                live = gr.Label(label="Likeliest now", elem_id="live", **bars)
                pace = gr.Markdown(elem_id="pace")
        with gr.Tab("How good is it?"):
            card = gr.Markdown(_card(service, names[0]), elem_id="card")
            picture = _confusion(service, names[0])

        answer = [said, label, strip, *saved, film, speed]
        private: dict[str, Any] = {"api_visibility": "private"}
        bounded = private | {"concurrency_id": "videos", "concurrency_limit": limits.jobs}
        bounded["show_progress_on"] = film

        def of_file(
            path: str | None, name: str, visit: gr.Request, progress: Any = _PROGRESS
        ) -> Iterator[list[Any]]:
            # Where the file was taken away, the example again.
            path = path or example
            yield from _answers(service, path, "", name, visit, progress) if path else [[None] * 8]

        def of_either(
            path: str | None, address: str, name: str, visit: gr.Request, progress: Any = _PROGRESS
        ) -> Iterator[list[Any]]:
            yield from _answers(service, path, address.strip(), name, visit, progress)

        # An upload empties the address, so an address that is there was given last.
        upload.upload(None, None, url, js="() => ''")
        # A file or an example is recognised as soon as it is there.
        upload.change(of_file, [upload, model], answer, **bounded)
        gr.on([go.click, url.submit], of_either, [upload, url, model], answer, **bounded)

        def pick(event: gr.SelectData) -> str:
            return str(service.examples[event.index])

        clips.select(pick, None, upload, **private)

        def cancel(visit: gr.Request) -> None:
            service.stopped.add(str(visit.session_hash))

        stop.click(cancel, queue=False, **private)

        def look_at(frame: np.ndarray | None, name: str, visit: gr.Request) -> tuple[Any, ...]:
            if frame is None:
                return gr.skip(), gr.skip(), gr.skip()
            try:
                visitor = str(visit.session_hash)
                found, row, facts = service.look(visitor, frame, name, time.monotonic())
            except UserError as error:
                # Sixteen frames come in a second: a notice for each would cover the page.
                return html.escape(str(error)), None, ""
            shown = _bars(service.recogniser(name).names, row)
            return f"## {html.escape(found)}", shown, f"{html.escape(name)} · {facts}"

        every = {"stream_every": 0.06, "show_progress": "hidden"}
        shared = {"concurrency_id": "cameras", "concurrency_limit": 2}
        camera.stream(look_at, [camera, model], [now, live, pace], **every, **shared, **private)

        def leave(visit: gr.Request) -> None:
            service.leave(str(visit.session_hash))

        page.unload(leave)

        def choose(name: str) -> list[Any]:
            with _shown_errors():
                service.recogniser(name)
            return [_notice(service, name), _card(service, name), _confusion(service, name)]

        chosen = model.change(choose, model, [notice, card, picture], **private)
        chosen.then(of_file, [upload, model], answer, **bounded)
    return page


def _confusion(service: Service, name: str) -> gr.Image:
    path = service.metrics / name / "confusion.png"
    about = {"label": "Test clips: actual and predicted", "elem_id": "confusion"}
    return gr.Image(path if path.exists() else None, visible=path.exists(), **about)


def _answers(
    service: Service, path: str | None, url: str, name: str, visit: gr.Request, progress: Any
) -> Iterator[list[Any]]:
    visitor = str(visit.session_hash)
    service.stopped.discard(visitor)

    def report(share: float) -> None:
        if visitor in service.stopped:
            raise UserError("Cancelled.")
        progress(share)

    with contextlib.ExitStack() as stack:
        with _shown_errors():
            if url:
                file, source = stack.enter_context(service.downloaded(url)), url
            elif path:
                file, source = Path(path), Path(path).name
            else:
                raise UserError("There is no video yet. Upload one.")
            answer = service.recognise(file, name, source, report)
        shown = _shown(service, answer)
        yield [*shown, None, f"{_facts(answer)} · drawing the labels …"]
        with _shown_errors():
            film = service.film(answer, file, report)
        yield [*shown, str(film), _facts(answer)]


@contextlib.contextmanager
def _shown_errors() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise gr.Error(str(error), duration=20, print_exception=False) from None


def _shown(service: Service, answer: Answer) -> list[Any]:
    prediction = answer.prediction
    clip = prediction.kind == CLIP
    heading = prediction.label if clip else f"{len(prediction.segments)} segments"
    # Names of files and folders come from outside.
    about = html.escape(f"{prediction.source} · {prediction.model}")
    return [
        f"## {html.escape(heading)}\n{about}",
        _bars(prediction.names, prediction.overall),
        "" if clip else markup.timeline(prediction),
        *service.saved(answer),
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
    card, row = recogniser.card, figures.read(service.metrics).get(name)
    tested = "It has not been tested here."
    if row:
        sources, over = "", "clips"
        if recogniser.dataset.get("grouped") and card.get("protocol") != "random":
            sources, over = (
                f" of {row['n_groups']} source videos that it never saw",
                "source videos",
            )
            if card.get("fold", 0) is None:
                sources += " (one model a fold; this one then learnt from all clips)"
        tested = (
            f"On {row['n_test']} test clips{sources}, it is right in **{row['accuracy']:.1%}**; "
            f"the 95 % interval over {over} is **{row['accuracy_low']:.0%} to "
            f"{row['accuracy_high']:.0%}**. Guessing is right in {row['chance']:.1%}."
        )
    limits = "Other cameras, places and people are harder. Use it to decide nothing about a person."
    leans = "".join(
        f"\n| {words} | {row[f'shown {variant}']:.0%} |"
        for variant, words in _SHOWN.items()
        if row and f"shown {variant}" in row
    )
    if leans:
        tested += f"\n\n| It is shown | and is right in |\n| --- | --- |{leans}"
    facts = (f"- {key.replace('_', ' ')}: {html.escape(str(card[key]))}" for key in sorted(card))
    about = f"## {html.escape(name)}", html.escape(recogniser.describe()), tested, limits
    return "\n\n".join([*about, "\n".join(facts)])
