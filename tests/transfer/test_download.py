import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import https_server
import pytest
from https_server import Fault

from har.errors import UserError
from har.transfer import download

BODY = bytes(range(256)) * 2000  # 512,000 bytes
SHA256 = hashlib.sha256(BODY).hexdigest()
RIGHT = {"sha256": SHA256, "n_bytes": len(BODY)}


@pytest.fixture
def target(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "downloads" / "UCF50.rar"


@pytest.fixture
def url(server) -> str:
    server.files["/UCF50.rar"] = BODY
    return f"{server.url}/UCF50.rar"


def leftovers(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.glob("*"))


def message(raises) -> str:
    text = str(raises.value)
    assert "Received: " in text
    assert "\n" not in text
    return text


def test_whole_file_arrives_and_its_hash_returns(server, url, target):
    assert download.download(url, target, **RIGHT) == SHA256
    assert target.read_bytes() == BODY
    assert leftovers(target) == ["UCF50.rar"]


def test_file_that_is_there_is_not_asked_for_again(server, url, target):
    download.download(url, target, **RIGHT)
    assert download.download(url, target, **RIGHT) == SHA256
    assert len(server.log) == 1


def test_changed_file_that_is_there_is_fetched_again(server, url, target):
    target.parent.mkdir()
    target.write_bytes(b"not it")
    assert download.download(url, target, **RIGHT) == SHA256


@pytest.mark.parametrize(
    ("etag", "modified", "condition"),
    [
        ('"1"', None, '"1"'),
        ('"1"', "Mon, 01 Jan 2018 00:00:00 GMT", '"1"'),
        # A weak ETag does not tell bytes apart: RFC 9110 bars it from If-Range.
        ('W/"1"', "Mon, 01 Jan 2018 00:00:00 GMT", "Mon, 01 Jan 2018 00:00:00 GMT"),
        ('W/"1"', None, None),
        (None, None, None),
    ],
)
def test_disconnect_is_resumed(server, url, target, etag, modified, condition):
    server.etag, server.modified = etag, modified
    server.faults = [Fault(drop_after=100_000), Fault(drop_after=200_000)]
    assert download.download(url, target, **RIGHT) == SHA256
    assert server.ranges == [None, "bytes=100000-", "bytes=300000-"]
    assert [entry[2] for entry in server.log] == [None, condition, condition]
    assert server.bodies == len(BODY)


def test_next_call_goes_on_where_the_last_gave_up(server, url, target):
    server.faults = [Fault(drop_after=100_000)] + [Fault(drop_after=0)] * 4
    with pytest.raises(UserError):
        download.download(url, target, **RIGHT)
    assert not target.exists()
    assert download.download(url, target, **RIGHT) == SHA256
    assert server.ranges[-1] == "bytes=100000-"
    assert server.bodies == len(BODY)


def test_killed_before_the_rename_needs_no_network(server, url, target):
    download.download(url, target, **RIGHT)
    part = target.with_name("UCF50.rar.part")
    target.rename(part)
    part.with_name("UCF50.rar.part.json").write_text(json.dumps([url, len(BODY), '"1"', None]))
    assert download.download(url, target, **RIGHT) == SHA256
    assert len(server.log) == 1


def test_silent_connection_is_given_up_and_resumed(server, url, target, monkeypatch):
    monkeypatch.setattr(download, "_TIMEOUT_S", (5, 0.2))
    monkeypatch.setattr(download, "_CHUNK", 10_000)
    server.faults = [Fault(drop_after=100_000, stall=True)]
    assert download.download(url, target, **RIGHT) == SHA256
    assert server.ranges == [None, "bytes=100000-"]


CHANGES = {
    "answered whole": Fault(),
    "answered in part all the same": Fault(ignore_if_range=True),
}


@pytest.mark.parametrize("fault", CHANGES.values(), ids=CHANGES)
def test_file_that_changed_between_tries_starts_again(server, url, target, fault):
    server.faults = [Fault(drop_after=100_000), *[Fault(drop_after=0)] * 3]
    with pytest.raises(UserError):
        download.download(url, target)
    new = BODY[::-1]
    server.files["/UCF50.rar"], server.etag = new, '"2"'
    server.faults = [fault]
    download.download(url, target)
    assert target.read_bytes() == new


def test_file_that_shrank_below_what_is_there_starts_again(server, url, target):
    server.faults = [Fault(drop_after=100_000), *[Fault(drop_after=0)] * 3]
    with pytest.raises(UserError):
        download.download(url, target)
    server.files["/UCF50.rar"] = b"short"
    server.faults = [Fault(ignore_if_range=True)]
    download.download(url, target)
    assert target.read_bytes() == b"short"


def test_server_without_ranges_is_started_again(server, url, target):
    server.faults = [Fault(drop_after=100_000), Fault(ignore_range=True)]
    assert download.download(url, target, **RIGHT) == SHA256


def test_server_that_never_gets_further_is_given_up(server, url, target):
    server.faults = [Fault(drop_after=100_000, ignore_range=True)] * 50
    with pytest.raises(UserError):
        download.download(url, target, **RIGHT)
    assert len(server.log) < 10


def test_partial_answer_from_another_place_is_not_appended(server, url, target):
    server.faults = [Fault(drop_after=100_000), Fault(shift=1)]
    assert download.download(url, target, **RIGHT) == SHA256


def test_body_without_a_length_arrives(server, url, target):
    server.lengths = False
    assert download.download(url, target, **RIGHT) == SHA256


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_server_out_of_order_is_tried_again(server, url, target, status):
    server.faults = [Fault(status=status)] * 2
    assert download.download(url, target, **RIGHT) == SHA256


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_refusal_is_told_at_once(server, url, target, status):
    server.faults = [Fault(status=status)]
    with pytest.raises(UserError) as raises:
        download.download(url, target, **RIGHT)
    assert f"HTTP {status}" in message(raises)
    assert "dataset.url" in message(raises)
    assert len(server.log) == 1
    assert leftovers(target) == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault(body=b"<html>Please log in", content_type="text/html; charset=utf-8"),
        Fault(body=b"\n <!DOCTYPE html><p>Please log in"),
        Fault(body=b"<HTML>"),
    ],
)
def test_web_page_is_not_taken_for_an_archive(server, url, target, fault):
    server.faults = [fault]
    with pytest.raises(UserError) as raises:
        download.download(url, target)
    assert "a web page" in message(raises)
    assert leftovers(target) == []


def test_wrong_bytes_are_told_and_deleted(server, url, target):
    server.files["/UCF50.rar"] = BODY[:-1] + b"x"
    with pytest.raises(UserError) as raises:
        download.download(url, target, **RIGHT)
    assert SHA256 in message(raises)
    assert hashlib.sha256(BODY[:-1] + b"x").hexdigest() in message(raises)
    assert leftovers(target) == []


def test_wrong_size_is_told_before_the_download(server, url, target):
    with pytest.raises(UserError) as raises:
        download.download(url, target, n_bytes=3_233_554_570)
    assert "3,233,554,570" in message(raises)
    assert "512,000" in message(raises)
    assert leftovers(target) == []


def test_wrong_size_that_no_header_tells_is_told(server, url, target):
    server.lengths = False
    with pytest.raises(UserError) as raises:
        download.download(url, target, n_bytes=512_001)
    assert "512,001" in message(raises)
    assert leftovers(target) == []


@pytest.mark.parametrize(
    "url",
    [
        "UCF50.rar",
        "ftp://host/UCF50.rar",
        "file:///etc/passwd",
        "x:y",
        "https://[1",
        "https://a:b/",
    ],
)
def test_url_that_is_none(target, url):
    with pytest.raises(UserError) as raises:
        download.download(url, target, **RIGHT)
    assert "dataset.url" in message(raises)


def test_redirections_without_an_end(server, url, target):
    server.faults = [Fault(location=url)] * 100
    with pytest.raises(UserError, match="Exceeded 30 redirects"):
        download.download(url, target, **RIGHT)


def test_server_that_is_gone(start, certificate, target):
    server, httpd = https_server.serve(certificate)
    httpd.shutdown()
    httpd.server_close()
    with pytest.raises(UserError) as raises:
        download.download(f"{server.url}/UCF50.rar", target, **RIGHT)
    assert "127.0.0.1" in message(raises)
    assert "dataset.path" in message(raises)


def test_host_that_does_not_exist(start, target):
    with pytest.raises(UserError) as raises:
        download.download("https://nowhere.invalid/UCF50.rar", target, **RIGHT)
    assert "nowhere.invalid" in message(raises)


class TestCertificates:
    def test_unverified_certificate_is_refused_and_the_way_out_named(self, untrusted, target):
        untrusted.files["/UCF50.rar"] = BODY
        with pytest.raises(UserError) as raises:
            download.download(f"{untrusted.url}/UCF50.rar", target, n_bytes=len(BODY))
        assert "self-signed certificate" in message(raises)
        for way in ("dataset.sha256", "REQUESTS_CA_BUNDLE", "dataset.path"):
            assert way in message(raises)
        assert untrusted.log == []
        assert leftovers(target) == []

    def test_known_checksum_stands_in_for_the_certificate(self, untrusted, target, capsys, recwarn):
        untrusted.files["/UCF50.rar"] = BODY
        untrusted.faults = [Fault(drop_after=100_000)]
        assert download.download(f"{untrusted.url}/UCF50.rar", target, **RIGHT) == SHA256
        assert untrusted.ranges == [None, "bytes=100000-"]
        assert "127.0.0.1 does not verify (self-signed certificate" in capsys.readouterr().out
        assert len(recwarn) == 0

    def test_wrong_bytes_behind_a_wrong_certificate_are_refused(self, untrusted, target):
        untrusted.files["/UCF50.rar"] = BODY[:-1] + b"x"
        with pytest.raises(UserError, match=SHA256):
            download.download(f"{untrusted.url}/UCF50.rar", target, **RIGHT)
        assert leftovers(target) == []

    def test_verified_certificate_is_used_where_the_checksum_is_known(
        self, server, url, target, capsys
    ):
        download.download(url, target, **RIGHT)
        assert "does not verify" not in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("name", "days", "problem"),
        [("127.0.0.1", -1, "expired"), ("elsewhere.org", 2, "127.0.0.1")],
    )
    def test_what_is_wrong_is_said(self, start, target, tmp_path, monkeypatch, name, days, problem):
        made = https_server.make_certificate(name, days=days)
        certificate = made.save(tmp_path / "certificate.pem")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        with pytest.raises(UserError) as raises:
            download.download(f"{start(certificate).url}/x", target)
        assert problem in message(raises)

    def test_chain_without_its_middle(self, start, target, tmp_path, monkeypatch):
        """What is wrong with UCF's server, and the mending that needs no insecurity."""
        root = https_server.make_certificate("root.example")
        middle = https_server.make_certificate("middle.example", issuer=root)
        leaf = https_server.make_certificate(issuer=middle, ca=False)
        server = start(leaf.save(tmp_path / "leaf.pem"))
        server.files["/UCF50.rar"] = BODY
        bundle = tmp_path / "bundle.pem"
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
        bundle.write_bytes(root.pem())
        with pytest.raises(UserError) as raises:
            download.download(f"{server.url}/UCF50.rar", target)
        assert "unable to get local issuer certificate" in message(raises)
        assert "REQUESTS_CA_BUNDLE" in message(raises)
        bundle.write_bytes(root.pem() + middle.pem())
        assert download.download(f"{server.url}/UCF50.rar", target) == SHA256

    def test_plain_http_takes_a_checksum(self, start, target):
        server = start(None)
        server.files["/UCF50.rar"] = BODY
        with pytest.raises(UserError, match="http://"):
            download.download(f"{server.url}/UCF50.rar", target)
        assert server.log == []
        assert download.download(f"{server.url}/UCF50.rar", target, **RIGHT) == SHA256

    def test_redirection_to_plain_http_takes_a_checksum(self, server, url, start, target):
        plain = start(None)
        plain.files["/UCF50.rar"] = BODY
        server.faults = [Fault(location=f"{plain.url}/UCF50.rar")] * 2
        with pytest.raises(UserError, match="http://"):
            download.download(url, target)
        assert download.download(url, target, **RIGHT) == SHA256


class TestDisk:
    def test_full_disk_is_told_before_the_download(self, server, url, target, monkeypatch):
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 0))
        with pytest.raises(UserError) as raises:
            download.download(url, target, **RIGHT)
        assert "0.00 GB" in message(raises)
        assert server.bodies <= len(BODY)
        assert not target.exists()

    def test_disk_that_fills_up_in_the_midst(self, server, url, small_disk, monkeypatch):
        monkeypatch.setattr(download, "check_free", lambda *_: None)
        target = small_disk / "UCF50.rar"
        with pytest.raises(OSError, match="No space left on device"):
            download.download(url, target, **RIGHT)
        assert leftovers(target) == ["UCF50.rar.part", "UCF50.rar.part.json"]
        assert BODY.startswith((small_disk / "UCF50.rar.part").read_bytes())

    def test_quota_in_the_midst(self, server, url, target):
        """The soft limit on the size of files stands in for a quota."""
        script = """
import resource, sys
from pathlib import Path
from har.transfer import download
from har.errors import run
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
run(lambda: download.download(sys.argv[1], Path(sys.argv[2])))
"""
        command = [sys.executable, "-c", script, url, str(target)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment())
        assert done.returncode == 2
        line = done.stderr.strip().splitlines()[-1]
        assert line.startswith("Error: File too large")
        assert not target.exists()
        assert download.download(url, target, **RIGHT) == SHA256
        assert server.ranges[-1] == "bytes=200000-"


def environment() -> dict[str, str]:
    root = Path(download.__file__).parents[2]
    return os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}


def test_kill_9_in_the_midst(server, url, target):
    server.faults = [Fault(drop_after=100_000, stall=True)]
    script = (
        "import sys; from pathlib import Path; from har.transfer import download\n"
        "download._CHUNK = 10_000; download.download(sys.argv[1], Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", script, url, str(target)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment())
    part = target.with_name("UCF50.rar.part")
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size == 100_000) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not target.exists()
    assert download.download(url, target, **RIGHT) == SHA256
    assert server.ranges == [None, "bytes=100000-"]
