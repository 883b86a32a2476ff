"""The server of the page: `POST /recognise`, `GET /health`, and no file left behind."""

import contextlib
import importlib.util
import logging
import os
import signal
import socket
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

from har.app.limits import Limits
from har.clips import segments, splits, video
from har.errors import UserError
from har.predictor import annotation
from har.predictor.prediction import as_json

if TYPE_CHECKING:
    from har.app.service import Service

_EXAMPLES, _TOP = 6, 5
# Gradio's own scripts are inline; nothing else comes from or goes to another server.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' blob: data:; worker-src 'self' blob:; "
    "frame-ancestors 'self'"
)


def run(
    models: Path, metrics: Path, host: str, port: int, limits: Limits, root_path: str, frames: str
) -> None:
    """Serve `models` and their figures, in `metrics`, until Ctrl-C, SIGTERM or SIGHUP.

    Port 0 is a free one; `root_path` is where a proxy shows the page; `frames` are sites that may
    frame it. A `UserError` says that a package or a model is missing, or that the port is taken.
    """
    for package in ("gradio", "av"):
        if not importlib.util.find_spec(package):
            raise UserError(
                f'The package {package} is not installed. Run `pip install "har-lab[app]"`.'
            )
    import uvicorn

    from har.app.service import Service

    ended = threading.Event()
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_listen(host, port))
        service = Service(models, metrics, limits)
        stack.callback(service.close)
        stack.callback(ended.set)
        tempfile.tempdir = str(service.folder)  # temporary files of libraries go there too
        application = _application(service, root_path, frames)
        # An open page keeps a connection: at the end requests get two seconds.
        config = uvicorn.Config(application, log_level="warning", timeout_graceful_shutdown=2)
        server = uvicorn.Server(config)
        # At the end uvicorn cancels what an open page waits for, and logs each as an error.
        logging.getLogger("uvicorn.error").addFilter(lambda _: not server.should_exit)
        if hasattr(signal, "SIGHUP"):  # uvicorn handles SIGINT and SIGTERM
            signal.signal(signal.SIGHUP, server.handle_exit)

        def sweep() -> None:
            service.sweep()
            while not ended.wait(min(60, limits.keep_seconds)):
                service.sweep()

        threading.Thread(target=sweep, daemon=True).start()
        print(f"http://{host}:{listener.getsockname()[1]}  (Ctrl-C ends)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


def _application(service: "Service", root_path: str, frames: str) -> Any:
    # Gradio reads these when it loads. It must send nothing to other servers.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["GRADIO_TEMP_DIR"] = str(service.uploads)
    import gradio
    import gradio.processing_utils
    from fastapi import FastAPI, Request

    from har.app import page

    if not service.names():
        raise UserError("There is no model to serve. Run `dvc repro` or `dvc pull`.")
    card = service.recogniser(service.names()[0]).card
    service.examples = examples(Path("data"), service.folder / "examples", card)
    blocks = page.build(service)
    blocks.queue(max_size=service.limits.waiting, default_concurrency_limit=4)
    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @application.get("/health")
    def health() -> dict[str, Any]:
        return {"status": "ok", "models": service.names()}

    @application.middleware("http")
    async def with_policy(request: Request, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["content-security-policy"] = f"{_POLICY} {frames}".strip()
        response.headers["x-content-type-options"] = "nosniff"
        return response

    _add_recognise(application, service)
    # A request can name an address as its file. Gradio would fetch it, of any size.
    gradio.processing_utils.async_ssrf_protected_download = _fetch_nothing
    # Gradio checks where files come from only where it believes that it was launched.
    blocks.has_launched = True
    return gradio.mount_gradio_app(
        application,
        blocks,
        path="/",
        root_path=root_path or None,
        max_file_size=int(service.limits.megabytes * 1e6),
        ssr_mode=False,
        show_error=True,
        theme=gradio.themes.Default(primary_hue="blue", font=["system-ui", "sans-serif"]),
        css_paths=Path(__file__).with_name("page.css"),
        js=Path(__file__).with_name("page.js").read_text(encoding="utf-8"),
        footer_links=[],
    )


def _add_recognise(application: Any, service: "Service") -> None:
    # Fields of the form: `file` or `url`, and `model`; the answer is JSON.
    import anyio
    from fastapi import Request
    from fastapi.responses import JSONResponse
    from gradio.route_utils import GradioMultiPartParser, MultiPartException

    limits = service.limits
    places = anyio.CapacityLimiter(limits.jobs + limits.waiting)

    def answer(form: Any) -> dict[str, Any]:
        name, url, file = form.get("model") or service.names()[0], form.get("url"), form.get("file")
        if bool(url) == hasattr(file, "filename"):
            raise UserError("Expected the form field file, a video, or url. Received: not one.")
        with service.downloaded(url) if url else contextlib.nullcontext(file.file.name) as path:
            found = service.recognise(Path(path), name, url or file.filename)
        facts = as_json(found.prediction, _TOP)
        about = {"model": name, "description": found.prediction.model}
        return {**about, **facts, "milliseconds": round(found.seconds * 1000, 3)}

    @application.post("/recognise")
    async def recognise(request: Request) -> JSONResponse:
        if "origin" in request.headers:  # a page of another site in a visitor's browser
            return JSONResponse({"error": "Web pages cannot call this address."}, 403)
        if places.available_tokens < 1:
            return JSONResponse({"error": "The server is busy. Try again in a minute."}, 503)
        bounds = {"max_files": 1, "max_fields": 2, "max_file_size": limits.megabytes * 1e6}
        body = request.headers, request.stream()
        parser = GradioMultiPartParser(*body, upload_dir=service.uploads, **bounds)
        try:
            form = await parser.parse()
            return JSONResponse(await anyio.to_thread.run_sync(answer, form, limiter=places))
        except (MultiPartException, UserError, KeyError) as error:  # KeyError: not a form
            return JSONResponse({"error": str(error)}, 413 if "exceeded" in str(error) else 400)


async def _fetch_nothing(url: str, cache_dir: str) -> str:
    import gradio

    said = "Expected an upload. Received: an address in its place."
    raise gradio.Error(said, print_exception=False)


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        raise UserError(
            f"Expected a free port at {host}:{port}. Received: {error.strerror or error}. "
            "Name another with --port, or 0 for any."
        ) from None
    return listener


def examples(data: Path, folder: Path, card: dict[str, Any]) -> list[Path]:
    """Write a test clip of each of some classes into `folder`, as MP4 that browsers play.

    `data` has split.csv and videos; without them there are no examples.
    """
    try:
        test = splits.read(data / "split.csv", card["protocol"], card["fold"] or 0).test
    except (UserError, KeyError):
        return []
    clips = {clip.split("/")[0]: clip for clip in reversed(test)}  # the first of each class
    found = []
    for label in sorted(clips)[:_EXAMPLES]:
        with contextlib.suppress(video.UnreadableVideoError, OSError):
            path, start, end = segments.locate(data / "fetched", clips[label])
            annotation.playable(path, folder / f"{label}.mp4", start, end)
            picture = video.read_clip(path, 3, 120, 160, start, end)[0][1]
            cv2.imwrite(str(folder / f"{label}.jpg"), picture[..., ::-1])
            found.append(folder / f"{label}.mp4")
    return found
