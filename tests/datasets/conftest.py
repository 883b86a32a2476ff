import shutil
import subprocess
from pathlib import Path

import https_server
import pytest

from har.transfer import download


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 300 kB, where the machine lets us mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("certificate")
    return https_server.make_certificate().save(folder / "self-signed.pem")


@pytest.fixture
def start(monkeypatch):
    """Start servers that end with the test; no real waiting between tries."""
    monkeypatch.setattr(download, "WAITS_S", (0, 0, 0))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    running = []

    def begin(certificate: Path | None) -> https_server.Server:
        server, httpd = https_server.serve(certificate)
        running.append((server, httpd))
        return server

    yield begin
    for server, httpd in running:
        server.over.set()
        httpd.shutdown()
        httpd.server_close()


@pytest.fixture
def untrusted(start, certificate) -> https_server.Server:
    """A server whose certificate does not verify."""
    return start(certificate)


@pytest.fixture
def server(untrusted, certificate, monkeypatch) -> https_server.Server:
    """A server whose certificate verifies, since it is named as an authority."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    return untrusted
