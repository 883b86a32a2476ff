"""A video by its address, within bounds: a direct file, or whatever yt-dlp takes."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

import requests
import urllib3
from tqdm import tqdm

from har.errors import UserError
from har.predictor import watch

_WAIT = 15  # seconds without a byte
_PAGES = ("text/html", "application/xhtml+xml")
_PLAYLISTS = ("mpegurl", "dash+xml")


@dataclass(frozen=True)
class Bounds:
    """What a download may cost.

    Attributes:
        megabytes: of the file.
        minutes: how long the video may be.
        seconds: that the whole download may take.
        public_only: refuse addresses inside this machine and its network.
    """

    megabytes: float = 500.0
    minutes: float = 150.0
    seconds: float = 1800.0
    public_only: bool = False


class _RefusedError(Exception):
    """Why there is no video."""


def is_url(text: str) -> bool:
    """Tell whether `text` is an address rather than a file: `scheme://…`."""
    return re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", text) is not None


def fetch(url: str, folder: Path, bounds: Bounds) -> tuple[Path, str]:
    """Download a video into `folder`.

    Args:
        url: `http://…` or `https://…`.
        folder: where to; the caller deletes it.
        bounds: what it may cost.

    Returns:
        The file, and the video's title.

    Raises:
        UserError: one line on why there is no video.
    """
    if urlsplit(url).scheme.lower() not in ("http", "https"):
        raise UserError(
            f"Expected an address that begins with http:// or https://. Received: {url}. "
            "Give a file by its path."
        )
    with watch.watching(bounds.seconds, public_only=bounds.public_only) as eye:
        try:
            return _direct(url, folder, bounds) or _by_yt_dlp(url, folder, bounds)
        except (_RefusedError, watch.PrivateAddressError) as error:
            reason = str(error)
    if eye.refused:
        reason = "an address inside the server's network"
    elif eye.expired:
        reason = f"no end of it within {bounds.seconds:g} s"
    raise UserError(
        f"Expected a video at {url}. Received: {reason}. "
        "Look at the address in a browser, or download the file and name it here."
    )


def _direct(url: str, folder: Path, bounds: Bounds) -> tuple[Path, str] | None:
    """Download what is a file by itself; return `None` where the address is that of a page."""
    try:
        with requests.get(
            url, stream=True, timeout=_WAIT, headers={"User-Agent": "Mozilla/5.0 (har)"}
        ) as response:
            kind = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
            page = kind in _PAGES or any(name in kind for name in _PLAYLISTS)
            if response.status_code >= 400:
                if page and _has_own_extractor(url):
                    return None
                raise _RefusedError(f"HTTP {response.status_code} {response.reason}")
            if page:
                return None
            if kind.startswith(("text/", "image/")) or kind.endswith(("json", "xml")):
                raise _RefusedError(f"{kind}, not a video")
            name = Path(unquote(urlsplit(response.url).path)).name or "video"
            path = folder / f"video{Path(name).suffix[:8]}"
            _save(response, path, bounds)
            return path, name
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        _refuse(error)


def _save(response: requests.Response, path: Path, bounds: Bounds) -> None:
    limit = bounds.megabytes * 1e6
    size = response.headers.get("Content-Length", "")
    total = int(size) if size.isdigit() else None
    received = 0
    with (
        path.open("wb") as file,
        tqdm(total=total, desc="Downloading", unit="B", unit_scale=True, disable=None) as bar,
    ):
        while total is None or total <= limit:
            block = response.raw.read(1 << 16, decode_content=True)
            if not block:
                break
            received += len(block)
            if received > limit:
                break
            file.write(block)
            bar.update(len(block))
    if max(total or 0, received) > limit:
        raise _RefusedError(f"more than {bounds.megabytes:g} MB")


def _by_yt_dlp(url: str, folder: Path, bounds: Bounds) -> tuple[Path, str]:
    """Let yt-dlp find the video of a page and download it."""
    yt_dlp = _yt_dlp(url)
    refusals: list[str] = []

    def suits(info: dict[str, Any], *, incomplete: bool = False) -> str | None:
        minutes = (info.get("duration") or 0) / 60
        if info.get("is_live") or info.get("live_status") in ("is_live", "is_upcoming"):
            refusals.append("a live broadcast")
        elif minutes > bounds.minutes:
            refusals.append(f"{minutes:.0f} minutes, more than {bounds.minutes:g}")
        return refusals[-1] if refusals else None

    with tqdm(desc="Downloading", unit="B", unit_scale=True, disable=None) as bar:

        def progress(state: dict[str, Any]) -> None:
            bar.total = state.get("total_bytes") or state.get("total_bytes_estimate")
            received = state.get("downloaded_bytes") or 0
            bar.update(max(received - bar.n, 0))
            if received > bounds.megabytes * 1e6:
                refusals.append(f"more than {bounds.megabytes:g} MB")
                raise yt_dlp.utils.DownloadCancelled

        options = {
            # Small is enough: networks see some hundred pixels. One file, so no FFmpeg to merge.
            "format": "best[height<=480]/bestvideo[height<=480]/best/bestvideo",
            "outtmpl": str(folder / "video.%(ext)s"),
            "noplaylist": True,
            "playlist_items": "1",
            "max_filesize": int(bounds.megabytes * 1e6),
            "match_filter": suits,
            "progress_hooks": [progress],
            "socket_timeout": _WAIT,
            "retries": 2,
            "extractor_retries": 1,
            "fragment_retries": 2,
            "external_downloader": {"default": "native"},
            "fixup": "never",
            "cachedir": False,
            "noprogress": True,
            "quiet": True,
            "no_warnings": True,
            "logger": _Silence(),
        }
        try:
            with yt_dlp.YoutubeDL(options) as downloader:
                info = downloader.extract_info(url, download=True) or {}
        except yt_dlp.utils.DownloadCancelled:
            info = {}
        except (yt_dlp.utils.YoutubeDLError, OSError) as error:
            if not refusals:
                _refuse(error)
            info = {}
    files = [file for file in folder.iterdir() if file.suffix != ".part"]
    if refusals or not files:
        # yt-dlp passes over what is larger than `max_filesize` without an error.
        raise _RefusedError(refusals[0] if refusals else f"more than {bounds.megabytes:g} MB")
    if entries := info.get("entries"):
        info = next(iter(entries))
    return files[0], str(info.get("title") or url)


def _yt_dlp(url: str) -> Any:
    try:
        import yt_dlp
    except ImportError:
        raise UserError(
            f"Expected yt-dlp to find the video of the page {url}. Received: not installed. "
            'Run `pip install "har[youtube]"`, or give the address of a video file.'
        ) from None
    return yt_dlp


def _has_own_extractor(url: str) -> bool:
    try:
        from yt_dlp.extractor import gen_extractor_classes
    except ImportError:
        return False
    return any(e.suitable(url) for e in gen_extractor_classes() if e.IE_NAME != "generic")


class _Silence:
    """A logger that says nothing: errors reach the user in one line of ours."""

    def debug(self, message: str) -> None:
        """Drop `message`."""

    warning = error = info = debug


# What errors of requests and yt-dlp mean, by what they say; the first that fits counts.
_MEANINGS = {
    r"private video|is private": "a private video",
    r"geo.?restrict|available (in|from) your (country|location)": "not shown in this country",
    r"sign in|log ?in|cookies|age.?restrict|your age": "for signed-in people only",
    r"removed|deleted|no longer available|terminated|unavailable|not exist": "a deleted video",
    r"name or service|getaddrinfo|nodename|resol(ve|ution)": "no such server, or no network",
    r"connection refused": "a server that refuses the connection",
    r"network is unreachable|no route to host": "no network",
    r"timed? ?out": "no answer",
    r"unsupported url|no video|no media": "a page in which yt-dlp finds no video",
    r"http error (\d+)": r"HTTP \1",
    r"certificate": "a server whose certificate does not hold",
    r"incompleteread|connection (reset|broken|aborted)|disconnected|bytes read": "it broke off",
    r"\bdrm\b": "a video under copy protection",
}


def _refuse(error: Exception) -> NoReturn:
    said = str(error)
    for pattern, meaning in _MEANINGS.items():
        if match := re.search(pattern, said, re.IGNORECASE):
            raise _RefusedError(match.expand(meaning)) from None
    line = re.sub(r"\x1b\[[0-9;]*m|^ERROR: ", "", said.strip().splitlines()[0] if said else "")
    raise _RefusedError(line[:200] or type(error).__name__) from None
