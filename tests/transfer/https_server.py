"""A web server on 127.0.0.1 with an unknown certificate and faults to order; its fixtures."""

import datetime
import ipaddress
import re
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from har.transfer import download


@dataclass
class Fault:
    """What goes wrong with one request."""

    drop_after: int | None = None  # bytes of the body, then the connection breaks
    stall: bool = False  # instead of breaking, the connection falls silent
    status: int | None = None
    ignore_range: bool = False
    ignore_if_range: bool = False
    location: str | None = None
    body: bytes | None = None
    content_type: str = "application/octet-stream"
    shift: int = 0  # bytes by which a partial answer lies about its start


@dataclass
class Server:
    """Files by path, and the log of what was asked for."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    etag: str | None = '"1"'
    modified: str | None = None
    faults: list[Fault] = field(default_factory=list)  # one a request, then none
    log: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    bodies: int = 0  # bytes of bodies sent
    lengths: bool = True
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def ranges(self) -> list[str | None]:
        return [entry[1] for entry in self.log]


class Certificate(NamedTuple):
    """A certificate and its key, to serve with or to sign others with."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def pem(self) -> bytes:
        """Return the certificate alone."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def save(self, path: Path) -> Path:
        """Write key and certificate into one file."""
        key = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path.write_bytes(key + self.pem())
        return path


def make_certificate(
    name: str = "127.0.0.1", *, days: int = 2, issuer: Certificate | None = None, ca: bool = True
) -> Certificate:
    """Make a certificate, signed by `issuer` or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    try:
        alternative = x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        alternative = x509.DNSName(name)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=3))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(issuer.key if issuer else key, hashes.SHA256())
    )
    return Certificate(certificate, key)


class _Handler(BaseHTTPRequestHandler):
    state: Server

    def do_GET(self) -> None:
        state = self.state
        fault = state.faults.pop(0) if state.faults else Fault()
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        state.log.append((self.path, wanted, condition))
        body = fault.body if fault.body is not None else state.files.get(self.path)
        if fault.location:
            self.send_response(302)
            self.send_header("Location", fault.location)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if fault.status or body is None:
            self.send_error(fault.status or 404)
            return
        status, start = 200, 0
        same = condition in (None, state.etag, state.modified) or fault.ignore_if_range
        if wanted and same and not fault.ignore_range:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            status = 206 if start < len(body) else 416
        self.send_response(status)
        if status == 416:
            self.send_header("Content-Range", f"bytes */{len(body)}")
            body = b""
        elif status == 206:
            first = start + fault.shift
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        body = body[start:] if status == 206 else body
        if state.lengths:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", fault.content_type)
        if state.etag:
            self.send_header("ETag", state.etag)
        if state.modified:
            self.send_header("Last-Modified", state.modified)
        self.send_header("Connection", "close")
        self.end_headers()
        sent = body if fault.drop_after is None else body[: fault.drop_after]
        state.bodies += len(sent)
        self.wfile.write(sent)
        if fault.stall:
            state.over.wait(30)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def serve(certificate: Path | None) -> tuple[Server, ThreadingHTTPServer]:
    """Start a server in a thread; https with a certificate, else http."""
    handler = type("Handler", (_Handler,), {})
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    httpd.daemon_threads = True
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    scheme = "https" if certificate else "http"
    handler.state = Server(f"{scheme}://127.0.0.1:{httpd.server_address[1]}")
    # Failed handshakes are what some tests are about: no traceback on the screen.
    httpd.handle_error = lambda *_: None
    threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
    return handler.state, httpd


@pytest.fixture(scope="session")
def certificate(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("certificate")
    return make_certificate().save(folder / "self-signed.pem")


@pytest.fixture
def start(monkeypatch):
    """Start servers that end with the test; no real waiting between tries."""
    monkeypatch.setattr(download, "WAITS_S", (0, 0, 0))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    running = []

    def begin(certificate: Path | None) -> Server:
        server, httpd = serve(certificate)
        running.append((server, httpd))
        return server

    yield begin
    for server, httpd in running:
        server.over.set()
        httpd.shutdown()
        httpd.server_close()


@pytest.fixture
def untrusted(start, certificate) -> Server:
    """A server whose certificate does not verify."""
    return start(certificate)


@pytest.fixture
def server(untrusted, certificate, monkeypatch) -> Server:
    """A server whose certificate verifies, since it is named as an authority."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    return untrusted
