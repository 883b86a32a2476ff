"""A video by its address, within bounds: a direct file, or what yt-dlp finds on a page.

yt-dlp runs in a process of its own, which ends when the bounds are passed.
"""

import importlib.util
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests
import urllib3
from tqdm import tqdm

from har.errors import UserError

_WAIT = 15  # seconds without a byte
_PAGES = ("text/html", "application/xhtml+xml", "mpegurl", "dash+xml")
_OPTIONS = (
    *("--ignore-config", "--no-colors", "--no-progress", "--no-playlist", "--playlist-items", "1"),
    # Small is enough: networks see some hundred pixels. One file, so no FFmpeg to merge.
    *("--format", "best[height<=480]/bestvideo[height<=480]/best/bestvideo"),
    *("--retries", "2", "--extractor-retries", "1", "--fragment-retries", "2"),
    *("--downloader", "native", "--fixup", "never", "--no-cache-dir", "--no-part"),
)


@dataclass(frozen=True)
class Bounds:
    """What a download may cost."""

    megabytes: float = 500.0  # largest file
    minutes: float = 150.0  # longest video
    seconds: float = 1800.0  # longest download
    # False on a server that others reach: it would fetch what only its own network may see.
    addresses: bool = True


class _RefusedError(Exception):
    """Why there is no video."""


def is_url(text: str) -> bool:
    """Tell whether `text` is an address rather than a file: `scheme://…`."""
    return re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", text) is not None


def fetch(url: str, folder: Path, bounds: Bounds) -> Path:
    """Download a video into `folder` and return the file; a `UserError` says why there is none."""
    if not bounds.addresses:
        raise UserError("This server takes no addresses. Download the video and upload the file.")
    if urlsplit(url).scheme.lower() not in ("http", "https"):
        raise UserError(
            f"Expected an address that begins with http:// or https://. Received: {url}. "
            "Give a file by its path."
        )
    end = time.monotonic() + bounds.seconds
    try:
        return _direct(url, folder, bounds, end) or _by_yt_dlp(url, folder, bounds, end)
    except requests.Timeout:
        reason = f"no answer within {_WAIT} s"
    except (_RefusedError, OSError, urllib3.exceptions.HTTPError) as error:
        reason = _root(error)  # requests' errors are OSErrors
    raise UserError(
        f"No video could be downloaded from {url}: {reason.rstrip('.')}. Open the address in a "
        "browser, or download the file and name it here."
    )


def _direct(url: str, folder: Path, bounds: Bounds, end: float) -> Path | None:
    # None where the address is that of a page.
    headers = {"User-Agent": "Mozilla/5.0 (har)"}
    with requests.get(url, stream=True, timeout=_WAIT, headers=headers) as response:
        kind = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
        page = any(name in kind for name in _PAGES)
        if page and (response.ok or importlib.util.find_spec("yt_dlp")):
            return None
        if not response.ok:
            raise _RefusedError(f"HTTP {response.status_code} {response.reason}")
        if kind.startswith(("text/", "image/")) or kind.endswith(("json", "xml")):
            raise _RefusedError(f"it is {kind}, not a video")
        path = folder / f"video{Path(unquote(urlsplit(response.url).path)).suffix[:8]}"
        size = response.headers.get("Content-Length", "")
        total = int(size) if size.isdigit() else 0
        with path.open("wb") as file, _bar(total or None) as bar:
            _check(total, bounds, end)
            while block := response.raw.read1(1 << 16, decode_content=True):
                file.write(block)
                bar.update(len(block))
                _check(file.tell(), bounds, end)
        return path


def _by_yt_dlp(url: str, folder: Path, bounds: Bounds, end: float) -> Path:
    if not importlib.util.find_spec("yt_dlp"):
        raise UserError(
            f"{url} is a page, and yt-dlp, which finds its video, is not installed. "
            'Run `pip install "har-lab[youtube]"`, or give the address of a video file.'
        )
    too_long = f"!is_live & live_status!=?is_upcoming & duration<=?{bounds.minutes * 60:.0f}"
    command = [sys.executable, "-P", "-m", "yt_dlp", *_OPTIONS, "--match-filters", too_long]
    command += ["--socket-timeout", str(_WAIT), "--max-filesize", str(int(bounds.megabytes * 1e6))]
    command += ["--output", str(folder.absolute() / "video.%(ext)s"), "--", url]
    log = folder / "yt-dlp.log"
    with log.open("wb") as said, _bar(None) as bar:
        process = subprocess.Popen(command, stdout=said, stderr=said)  # noqa: S603
        try:
            while process.poll() is None:
                received = sum(path.stat().st_size for path in folder.glob("video.*"))
                bar.update(max(received - bar.n, 0))
                _check(received, bounds, end)
                time.sleep(0.1)
        finally:
            process.kill()
            process.wait()
    lines = log.read_text("utf-8", "replace").splitlines()
    log.unlink()
    if process.returncode:
        # Its own words; a missing JavaScript runtime is only a warning, and often the cause.
        errors = [line for line in lines if line.startswith("ERROR: ")]
        hints = [line for line in lines if "JavaScript runtime" in line]
        sentence = " ".join([*errors[-1:], *hints[:1]]) or "yt-dlp failed without a message"
        raise _RefusedError(re.sub(r"(ERROR|WARNING): |; please report this.*", "", sentence))
    if found := sorted(folder.glob("video.*")):
        return found[0]
    most = f"longer than {bounds.minutes:g} minutes or more than {bounds.megabytes:g} MB"
    raise _RefusedError(f"it is live, {most}")


def _bar(total: int | None) -> tqdm:
    return tqdm(total=total, desc="Downloading", unit="B", unit_scale=True, disable=None)


def _check(received: int, bounds: Bounds, end: float) -> None:
    if received > bounds.megabytes * 1e6:
        raise _RefusedError(f"more than {bounds.megabytes:g} MB")
    if time.monotonic() > end:
        raise _RefusedError(f"it takes longer than {bounds.seconds:g} s")


def _root(error: BaseException) -> str:
    # What the operating system or library said first.
    while error.__context__:
        error = error.__context__
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return said.splitlines()[0][:300]
