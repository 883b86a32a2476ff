"""The server of the page: its bounds, `/health`, and no trace left behind."""

import contextlib
import os
import socket
import threading
from pathlib import Path
from typing import Any

from har.app.limits import Limits
from har.app.service import Desk
from har.clips import splits, video
from har.errors import UserError
from har.predictor import annotation

_EXAMPLES = 6
# Pictures and films are not to make the page wider than a phone.
_STYLE = """
.gradio-container {max-width: min(1100px, 100vw) !important; margin: auto; overflow-x: hidden}
#film video {max-height: 60vh}
"""

# The page's own scripts are inline; nothing else is to come from or go anywhere.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' blob: data:; worker-src 'self' blob:; "
    "frame-ancestors 'self'"
)


def run(models: Path, metrics: Path, host: str, port: int, limits: Limits) -> None:
    """Serve until Ctrl-C.

    Args:
        models: folder of the models' folders.
        metrics: `metrics.json`.
        host: address to listen at; 127.0.0.1 is this machine alone.
        port: 0 takes a free one.
        limits: what a visitor may ask for.

    Raises:
        UserError: Gradio is not installed, there is no model, or the port is taken.
    """
    listener = _listening(host, port)
    desk = Desk(models, metrics, limits)
    ended = threading.Event()
    try:
        server = _server(desk)
        threading.Thread(target=_sweep, args=(desk, ended), daemon=True).start()
        print(f"http://{host}:{listener.getsockname()[1]}  (Ctrl-C ends)", flush=True)
        server.run(sockets=[listener])
    finally:
        ended.set()
        desk.close()
        listener.close()


def _sweep(desk: Desk, ended: threading.Event) -> None:
    while not ended.wait(min(60, desk.limits.keep_seconds)):
        desk.sweep()


def _server(desk: Desk) -> Any:
    # Gradio reads these when it loads. Nothing of a visitor leaves this machine.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["GRADIO_TEMP_DIR"] = str(desk.uploads)
    try:
        import gradio
        import gradio.processing_utils
        import uvicorn

        from har.app import page
    except ImportError as error:
        raise UserError(
            f"Expected the packages of the page. Received: no {error.name}. "
            'Run `pip install "har[app]"`.'
        ) from None
    if not desk.names():
        raise UserError(
            f"Expected a model in {desk.models}. Received: none. Run `dvc repro` or `dvc pull`."
        )
    card = desk.recogniser(desk.names()[0]).card
    desk.examples = examples(Path("data"), desk.folder / "examples", card)
    blocks = page.build(desk)
    blocks.queue(max_size=desk.limits.waiting, default_concurrency_limit=4)
    served = gradio.mount_gradio_app(
        _application(desk),
        blocks,
        path="/",
        max_file_size=int(desk.limits.megabytes * 1e6),
        ssr_mode=False,
        show_error=True,
        theme=gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        css=_STYLE,
        footer_links=[],
    )
    # A request may give an address as the path of its file, and Gradio would fetch it, of any size.
    gradio.processing_utils.async_ssrf_protected_download = _fetch_nothing
    # Gradio looks at where files come from only in what it takes for launched.
    blocks.has_launched = True
    return uvicorn.Server(uvicorn.Config(served, log_level="warning"))


async def _fetch_nothing(url: str, cache_dir: str) -> str:
    """Stand in for Gradio's own download, which knows no bounds; `har.predictor.web_video` does."""
    import gradio

    raise gradio.Error(
        "Expected a file that was uploaded. Received: an address in its place. "
        "Give addresses as the second input.",
        print_exception=False,
    )


def _application(desk: Desk) -> Any:
    from fastapi import FastAPI

    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @application.get("/health")
    def health() -> dict[str, Any]:
        return {"status": "ok", "models": desk.names()}

    application.add_middleware(_KeepToOneself)
    return application


class _KeepToOneself:
    """Tells browsers to load nothing from elsewhere; passes streams on as they come."""

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [
                    (b"content-security-policy", _POLICY.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        await self._application(scope, receive, with_policy)


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        raise UserError(
            f"Expected a free port at {host}:{port}. Received: {error.strerror or error}. "
            "Take another with --port, or 0 for any."
        ) from None
    return listener


def examples(data: Path, folder: Path, card: dict[str, Any]) -> list[Path]:
    """Put a test clip of each of some classes into `folder`, as MP4 that browsers play.

    Args:
        data: folder of clips.csv, split.csv and videos; where it has none, there are no examples.
        folder: to write to.
        card: of the model, which says what it was not trained on.
    """
    try:
        test = splits.read(data / "split.csv", card["protocol"], card["fold"]).test
    except (UserError, KeyError):
        return []
    clips: dict[str, str] = {}
    for clip in test:
        clips.setdefault(clip.split("/")[0], clip)
    found = []
    for label, clip in list(clips.items())[:_EXAMPLES]:
        target = folder / f"{label}.mp4"
        with contextlib.suppress(video.UnreadableVideoError, OSError):
            annotation.playable(data / "videos" / clip, target)
            found.append(target)
    return found
