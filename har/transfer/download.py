"""A file by HTTPS that is whole and right, however often the connection breaks.

Bytes go to `<name>.part`; what the server says of the file (size, ETag, Last-Modified) stands in
`<name>.part.json` beside it. A later try asks for the rest only (RFC 9110, Range with If-Range)
and starts again where the server's file has changed. The final name appears by rename, after
size and SHA-256 have been checked: a file of that name is never half a file.
"""

import json
import re
import time
import warnings
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import requests
import urllib3
from tqdm import tqdm

from har import files
from har.errors import UserError
from har.transfer import disk, trust
from har.transfer.checksums import Known

WAITS_S = (1, 2, 4, 8, 16)  # before each further try that brings nothing new
_TIMEOUT_S = (20, 60)  # to connect, and between two bytes
_CHUNK = 1 << 16  # bytes; what a break may cost
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_BREAKS = (requests.RequestException, urllib3.exceptions.HTTPError, ConnectionError, TimeoutError)


class _Facts(NamedTuple):
    """What the server says of its file; equal facts, same file."""

    url: str
    total: int | None
    etag: str | None
    modified: str | None

    def validator(self) -> str | None:
        """Return what If-Range takes: a strong ETag, else the date."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


class _TransferError(Exception):
    """The connection broke or the server is out of order: worth another try."""


def download(
    url: str, target: Path, known: Known | None = None, *, insecure_tls: bool = False
) -> str:
    """Bring `url` to `target`, going on with what an earlier call left.

    Args:
        url: https; plain http only with a known SHA-256.
        target: the file to write. A file that is there is checked and not downloaded again.
        known: size and SHA-256 that the file must have, as far as they are known.
        insecure_tls: accept any certificate, which takes a known SHA-256.

    Returns:
        The SHA-256 of the file.

    Raises:
        UserError: the URL, the server, its certificate, the disk or the bytes are not as they
            should be. Bytes that failed the check are deleted, others stay for the next call.
    """
    known = known or Known()
    trust.check_url(url, known, insecure_tls)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        sha256 = files.file_sha256(target)
        if known.sha256 in (None, sha256):
            return sha256
        print(f"{target} is not what {known.origin} expects: downloading it again")
        target.unlink()
    part = target.with_name(target.name + ".part")
    if insecure_tls:
        print(f"TLS certificates unchecked; the SHA-256 of {target.name} will be checked")
    with warnings.catch_warnings(), requests.Session() as session:
        # Said above, once, instead of once a request.
        warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
        _persist(session, url, part, known, insecure_tls)
    n_bytes, sha256 = part.stat().st_size, files.file_sha256(part)
    if known.n_bytes not in (None, n_bytes) or known.sha256 not in (None, sha256):
        _discard(part)
        raise UserError(
            f"Expected {_describe(known.n_bytes, known.sha256)} ({known.origin}) from {url}. "
            f"Received: {_describe(n_bytes, sha256)}; deleted. Run again if the transfer may have "
            "gone wrong; if the publisher changed the file and you trust it, put its bytes and "
            "sha256 in checksums.json."
        )
    part.replace(target)
    _facts_file(part).unlink(missing_ok=True)
    return sha256


def _describe(n_bytes: int | None, sha256: str | None) -> str:
    facts = [f"{n_bytes:,} bytes"] if n_bytes is not None else []
    return " with ".join([*facts, f"SHA-256 {sha256}"] if sha256 else facts)


def _persist(
    session: requests.Session, url: str, part: Path, known: Known, insecure_tls: bool
) -> None:
    """Fill `part`, trying again while tries bring something new, and then a few times more."""
    furthest, failures = _size(part), 0
    while True:
        try:
            return _transfer(session, url, part, known, insecure_tls)
        except _TransferError as error:
            reached = _size(part)
            failures = 1 if reached > furthest else failures + 1
            furthest = max(furthest, reached)
            if failures > len(WAITS_S):
                raise UserError(
                    f"Expected {url} to answer. Received: {error}, {failures} times running. "
                    f"Run again later: it goes on after {reached:,} bytes; or name a mirror with "
                    "dataset.url, or a file that you have with dataset.path."
                ) from None
            wait = WAITS_S[failures - 1]
            print(f"{error}; trying again in {wait} s, after {reached:,} bytes")
            time.sleep(wait)


def _transfer(
    session: requests.Session, url: str, part: Path, known: Known, insecure_tls: bool
) -> None:
    """Ask once for what `part` lacks, and append it."""
    facts = _read_facts(part, url)
    have = _size(part) if facts else 0
    if facts and have and have == facts.total:
        return
    headers = {"Accept-Encoding": "identity", "User-Agent": "har"}
    if facts and have:
        headers["Range"] = f"bytes={have}-"
        if validator := facts.validator():
            headers["If-Range"] = validator
    try:
        with session.get(
            url, headers=headers, stream=True, timeout=_TIMEOUT_S, verify=not insecure_tls
        ) as response:
            seen = _answer(response, url, known)
            if response.status_code == 416 or (
                response.status_code == 206 and not _continues(response, facts, seen, have)
            ):
                _discard(part)
                raise _TransferError("the file on the server has changed")
            _check_size(seen, url, known)
            if response.status_code == 200:
                have = 0
                _discard(part)
                files.write_text(_facts_file(part), json.dumps(seen))
            disk.check_free(part.parent, (seen.total or 0) - have, f"download {part.stem}")
            _append(response, part, seen, have)
    except _BREAKS as error:
        if told := trust.explain(error, url, known):
            raise told from None
        raise _TransferError(f"{urlsplit(url).hostname}: {trust.innermost(error)}") from None


def _answer(response: requests.Response, url: str, known: Known) -> _Facts:
    """Return the facts of the file in `response`, or raise where there is no file in it."""
    status = f"HTTP {response.status_code} {response.reason}"
    if response.status_code in _TRANSIENT:
        raise _TransferError(status)
    if response.status_code not in (200, 206, 416):
        raise UserError(
            f"Expected a file at {url}. Received: {status}. Correct dataset.url, or name a file "
            "that you have with dataset.path."
        )
    trust.check_redirection(url, response.url, known)
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise _web_page(url)
    span = re.fullmatch(r"bytes \d+-\d+/(\d+)", response.headers.get("Content-Range", ""))
    total = span[1] if span else response.headers.get("Content-Length")
    modified = response.headers.get("Last-Modified")
    return _Facts(url, int(total) if total else None, response.headers.get("ETag"), modified)


def _continues(response: requests.Response, facts: _Facts | None, seen: _Facts, have: int) -> bool:
    """Tell whether a partial answer is the rest of the same file."""
    starts = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
    return (
        bool(facts)
        and starts
        and all(old == new for old, new in zip(facts, seen, strict=True) if old and new)
    )


def _check_size(seen: _Facts, url: str, known: Known) -> None:
    if known.n_bytes and seen.total and known.n_bytes != seen.total:
        raise UserError(
            f"Expected {known.n_bytes:,} bytes ({known.origin}) at {url}. Received: a file of "
            f"{seen.total:,} bytes. Correct dataset.url; if the publisher changed the file and "
            "you trust it, put its bytes in checksums.json, and its sha256 where you know it."
        )


def _append(response: requests.Response, part: Path, seen: _Facts, have: int) -> None:
    bar = tqdm(
        total=seen.total,
        initial=have,
        desc=part.stem,
        unit="B",
        unit_scale=True,
        unit_divisor=1000,
    )
    # Unbuffered: what a kill leaves in the file is what had arrived.
    with bar, disk.telling_when_full(part), part.open("ab", buffering=0) as file:
        for chunk in response.raw.stream(_CHUNK, decode_content=False):
            if not have and chunk[:512].lstrip().lower().startswith((b"<!doctype", b"<html")):
                _discard(part)
                raise _web_page(response.url)
            left = memoryview(chunk)
            while left:  # a raw file may take less than it is given, as where the disk fills up
                left = left[file.write(left) :]
            have += len(chunk)
            bar.update(len(chunk))
    if seen.total is not None and have != seen.total:
        raise _TransferError(f"the connection ended after {have:,} of {seen.total:,} bytes")


def _web_page(url: str) -> UserError:
    return UserError(
        f"Expected an archive at {url}. Received: a web page (HTML), as log-in pages, error pages "
        "and captive networks send. Open the URL in a browser; then correct dataset.url, or name "
        "the downloaded file with dataset.path."
    )


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _facts_file(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_facts(part: Path, url: str) -> _Facts | None:
    """Return what the server said when `part` was begun; None where it said it of another URL."""
    try:
        facts = _Facts(*json.loads(_facts_file(part).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return facts if facts.url == url else None


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _facts_file(part).unlink(missing_ok=True)
