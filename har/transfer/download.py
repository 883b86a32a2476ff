"""Download one file by HTTPS: resumed after breaks, checked, whole or absent.

Bytes go to `<name>.part`; `<name>.part.json` keeps what the server says of the file. A later try
asks for the rest only (RFC 9110, Range with If-Range) and starts over where the file has changed.

TLS policy: verify certificates unless the file's SHA-256 is known, which refuses wrong bytes
whatever server sent them. Only then plain http, or a certificate that does not verify, is accepted.
"""

import contextlib
import json
import re
import shutil
import ssl
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
import urllib3
from tqdm import tqdm

from har import files
from har.errors import UserError

WAITS_S = (1, 2, 4, 8, 16)  # before each further try that brings nothing new
MARGIN = 64 << 20  # bytes left free on the disk
_TIMEOUT_S = (20, 60)  # to connect, and between two bytes
_CHUNK = 1 << 16  # bytes; what a break may cost
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_BREAKS = (requests.RequestException, urllib3.exceptions.HTTPError, ConnectionError, TimeoutError)
_URL = "Correct dataset.url, or name a file that you have with dataset.path."
_CHANGED = "If the publisher changed it and you trust it, set dataset.sha256 to its SHA-256."


class _BreakError(Exception):
    """The connection broke or the server is overloaded: another try may succeed."""


class _Facts(NamedTuple):
    url: str
    total: int | None
    etag: str | None
    modified: str | None


def download(
    url: str, target: Path, *, sha256: str | None = None, n_bytes: int | None = None
) -> str:
    """Download `url` (plain http only with `sha256`) to `target` and return its SHA-256.

    A file that is there is checked and not downloaded again. `sha256` and `n_bytes` are what the
    file must have, where known; wrong bytes are deleted, incomplete ones stay for the next call.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        found = files.file_sha256(target)
        if sha256 in (None, found):
            return found
        print(f"{target} has the SHA-256 {found}, not {sha256}: downloading it again")
        target.unlink()
    part = target.with_name(target.name + ".part")
    with warnings.catch_warnings(), requests.Session() as session:
        # One printed line says it, instead of a warning a request.
        warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
        if sha256 is None:
            del session.adapters["http://"]  # redirections included
        _persist(session, url, part, sha256, n_bytes)
    size, found = _size(part), files.file_sha256(part)
    if n_bytes not in (None, size) or sha256 not in (None, found):
        _discard(part)
        wish = [f"{n_bytes:,} bytes"] if n_bytes else []
        wish += [f"SHA-256 {sha256}"] if sha256 else []
        raise UserError(
            f"Expected {' with '.join(wish)} from {url}. Received: {size:,} bytes with SHA-256 "
            f"{found}; deleted. Run again if the transfer may have gone wrong. {_CHANGED}"
        )
    part.replace(target)
    _facts_file(part).unlink(missing_ok=True)
    return found


def check_free(folder: Path, n_bytes: int, purpose: str) -> None:
    """Refuse where the disk of `folder` has no room for `n_bytes` and a margin."""
    free = shutil.disk_usage(folder).free
    if free < n_bytes + MARGIN:
        raise UserError(
            f"Expected {(n_bytes + MARGIN) / 1e9:.2f} GB free on the disk of {folder} to {purpose}."
            f" Received: {free / 1e9:.2f} GB. Free some space and run again."
        )


def is_web_page(head: bytes) -> bool:
    """Return whether a file that begins with `head` is HTML."""
    return head[:512].lstrip().lower().startswith((b"<!doctype", b"<html"))


def _persist(
    session: requests.Session, url: str, part: Path, sha256: str | None, n_bytes: int | None
) -> None:
    # Tries go on while they bring new bytes, and then a few times more.
    furthest, failures = _size(part), 0
    while True:
        try:
            return _request(session, url, part, sha256, n_bytes)
        except _BreakError as error:
            reached = _size(part)
            failures = 1 if reached > furthest else failures + 1
            furthest = max(furthest, reached)
            if failures > len(WAITS_S):
                raise UserError(
                    f"Expected {url} to answer. Received: {error}, {failures} times in a row. Run "
                    f"again later: it goes on after {reached:,} bytes. {_URL}"
                ) from None
            print(f"{error}; trying again in {WAITS_S[failures - 1]} s, after {reached:,} bytes")
            time.sleep(WAITS_S[failures - 1])


def _request(
    session: requests.Session, url: str, part: Path, sha256: str | None, n_bytes: int | None
) -> None:
    facts, have = None, _size(part)
    with contextlib.suppress(OSError, ValueError, TypeError):
        facts = _Facts(*json.loads(_facts_file(part).read_text(encoding="utf-8")))
    headers = {"Accept-Encoding": "identity", "User-Agent": "har"}
    if facts and have and facts.url == url:
        if have == facts.total:
            return
        headers["Range"] = f"bytes={have}-"
        # If-Range takes a strong ETag or a date.
        strong = facts.etag if facts.etag and not facts.etag.startswith("W/") else None
        if strong or facts.modified:
            headers["If-Range"] = strong or facts.modified
    try:
        with session.get(
            url, headers=headers, stream=True, timeout=_TIMEOUT_S, verify=session.verify
        ) as response:
            _receive(response, url, part, facts, n_bytes)
    except _BREAKS as error:
        chain = _chain(error)
        words = re.sub(r"^<.*?>: |^HTTPS?Connection(Pool)?\(.*?\): ", "", str(chain[-1]))
        if isinstance(error, (ValueError, requests.TooManyRedirects)):
            raise UserError(
                "Expected dataset.url as https://host/archive, or http:// with a known "
                f"dataset.sha256. Received: {url}, {words}. {_URL}"
            ) from None
        host = urlsplit(url).hostname
        if not isinstance(chain[-1], ssl.SSLCertVerificationError):
            raise _BreakError(f"{host}: {words}") from None
        problem = chain[-1].verify_message or words
        if sha256 is None:
            raise UserError(
                f"Expected a TLS certificate of {host} that verifies. Received: {problem}. Set "
                "dataset.sha256 to the file's SHA-256 from a source you trust; or, where the "
                "server leaves out a link of its chain, as UCF's is known to, name a file with the "
                "whole chain in REQUESTS_CA_BUNDLE; or download the file with a browser and name "
                "it with dataset.path."
            ) from None
        print(f"The certificate of {host} does not verify ({problem}). The SHA-256 is checked.")
        session.verify = False
        _request(session, url, part, sha256, n_bytes)


def _receive(
    response: requests.Response, url: str, part: Path, facts: _Facts | None, n_bytes: int | None
) -> None:
    status, span = response.status_code, response.headers.get("Content-Range", "")
    if status in _TRANSIENT:
        raise _BreakError(f"HTTP {status} {response.reason}")
    if status not in (200, 206, 416):
        raise UserError(
            f"Expected a file at {url}. Received: HTTP {status} {response.reason}. {_URL}"
        )
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise _web_page(url)
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", span)
    total = match[2] if match else response.headers.get("Content-Length")
    modified = response.headers.get("Last-Modified")
    seen = _Facts(url, int(total) if total else None, response.headers.get("ETag"), modified)
    have = _size(part)
    if status != 200:
        # A partial answer has to be the rest of the same file.
        same = facts and all(
            old == new for old, new in zip(facts, seen, strict=True) if old and new
        )
        if status == 416 or not (same and match and int(match[1]) == have):
            _discard(part)
            raise _BreakError("the file on the server has changed")
    if n_bytes and seen.total and n_bytes != seen.total:
        raise UserError(
            f"Expected {n_bytes:,} bytes at {url}. Received: a file of {seen.total:,} bytes. "
            f"{_CHANGED} {_URL}"
        )
    if status == 200:
        have = 0
        _discard(part)
        files.write_text(_facts_file(part), json.dumps(seen))
    check_free(part.parent, (seen.total or 0) - have, f"download {part.stem}")
    bar = tqdm(total=seen.total, initial=have, desc=part.stem, unit="B", unit_scale=True)
    with bar, part.open("ab") as file:
        for chunk in response.raw.stream(_CHUNK, decode_content=False):
            if not have and is_web_page(chunk):
                _discard(part)
                raise _web_page(url)
            have += file.write(chunk)
            bar.update(len(chunk))
    if seen.total is not None and have != seen.total:
        raise _BreakError(f"the connection ended after {have:,} of {seen.total:,} bytes")


def _web_page(url: str) -> UserError:
    return UserError(
        f"Expected an archive at {url}. Received: a web page (HTML), as log-in pages, error pages "
        f"and captive networks send. Open the URL in a browser. {_URL}"
    )


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _facts_file(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _facts_file(part).unlink(missing_ok=True)


def _chain(error: Any) -> list[Any]:
    # An error and those it wraps: requests and urllib3 put them in various places.
    found = [error]
    for inner in (getattr(error, "reason", None), *getattr(error, "args", ())):
        if isinstance(inner, BaseException) and inner is not error:
            found += _chain(inner)
    return found
