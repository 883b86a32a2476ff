"""Whom a download believes, and what to do where a certificate does not verify.

TLS stays on. `dataset.insecure_tls` takes it off only where the SHA-256 of the file is known
beforehand: then any bytes but the right ones are refused, whoever sent them. Without a checksum
there is nothing left to tell an attacker's archive from UCF's, and the answer is no.
"""

import re
import ssl
from typing import Any
from urllib.parse import urlsplit

import requests

from har.errors import UserError
from har.transfer.checksums import Known


def check_url(url: str, known: Known, insecure_tls: bool) -> None:
    """Refuse a URL that is none, and a connection that proves nothing where nothing is known.

    Raises:
        UserError: says what else can be done.
    """
    try:
        scheme, host = urlsplit(url).scheme, urlsplit(url).hostname
    except ValueError:
        scheme = host = None
    if scheme not in ("https", "http") or not host:
        raise UserError(
            f"Expected dataset.url as https://host/archive. Received: {url}. Correct it, or name "
            "a file that you have with dataset.path."
        )
    if known.sha256 is None and (insecure_tls or scheme == "http"):
        what = "dataset.insecure_tls: true" if insecure_tls else "http:// without TLS"
        raise UserError(
            f"Expected a known SHA-256 with {what}, else anyone on the way could replace the "
            f"file. Received: none for {url}. Put bytes and sha256 from someone you trust in "
            "checksums.json, or download the file with a browser (which mends most broken "
            "chains) and name it with dataset.path."
        )


def check_redirection(url: str, final: str, known: Known) -> None:
    """Refuse to be led from TLS to plain http where the SHA-256 is not known."""
    if urlsplit(final).scheme == "http" and known.sha256 is None:
        raise UserError(
            f"Expected {url} to stay on https. Received: a redirection to {final}. "
            "Name another mirror with dataset.url."
        )


def explain(error: Exception, url: str, known: Known) -> UserError | None:
    """Return what to tell of an error that no further try will mend; None for other errors."""
    if isinstance(error, (ValueError, requests.TooManyRedirects)):
        return UserError(
            f"Expected dataset.url as https://host/archive. Received: {url}, {innermost(error)}. "
            "Correct it, or name a file that you have with dataset.path."
        )
    problem = _certificate_problem(error)
    if problem is None:
        return None
    hint = (
        "set dataset.insecure_tls: true, which is safe here because the SHA-256 of the file is "
        "known and checked"
        if known.sha256
        else "put the bytes and sha256 of the file, from someone you trust, in checksums.json and "
        "set dataset.insecure_tls: true"
    )
    return UserError(
        f"Expected a TLS certificate of {urlsplit(url).hostname} that verifies. Received: "
        f"{problem}. If the server leaves out a link of its chain, as UCF's is known to: {hint}; "
        "or name a file with the whole chain in REQUESTS_CA_BUNDLE, a mirror with dataset.url, "
        "or a file that you have with dataset.path."
    )


def _chain(error: Any) -> list[Any]:
    """Return an error and those it wraps: requests and urllib3 put them in various places."""
    found = [error]
    for inner in (getattr(error, "reason", None), *getattr(error, "args", ())):
        if isinstance(inner, BaseException) and inner is not error:
            found += _chain(inner)
    return found


def _certificate_problem(error: Exception) -> str | None:
    for inner in _chain(error):
        if isinstance(inner, ssl.SSLCertVerificationError):
            return inner.verify_message or str(inner)
    return None


def innermost(error: Exception) -> str:
    """Return the words of the error inside an error of requests or urllib3."""
    text = str(_chain(error)[-1])
    return re.sub(r"^<.*?>: |^HTTPS?Connection(Pool)?\(.*?\): ", "", text)
