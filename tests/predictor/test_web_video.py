import http.server
import json
import socket
import sys
import threading
import time
from pathlib import Path

import predictor_models as small
import pytest

from har import cli
from har.errors import UserError
from har.predictor import watch, web_video
from har.predictor.web_video import Bounds, fetch

yt_dlp = pytest.importorskip("yt_dlp", reason="yt-dlp, the extra youtube, is not installed")


class Handler(http.server.BaseHTTPRequestHandler):
    """A server with a video and every fault; what it serves is in `video`."""

    video = b""
    asked: list[str] = []  # noqa: RUF012

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.asked.append(self.path)
        name = self.path.lstrip("/").split("?")[0].split(".")[0]
        getattr(self, f"send_{name}", self.send_nothing)()

    def send_clip(self):
        self.answer(200, "video/x-msvideo", self.video)

    def send_octets(self):
        self.answer(200, "application/octet-stream", self.video)

    def send_page(self):
        page = '<html><head><title>My holiday</title></head><body><video src="/clip.avi"></video>'
        self.answer(200, "text/html; charset=utf-8", page.encode())

    def send_large_page(self):
        self.answer(200, "text/html", b'<html><title>L</title><video src="/large.mp4"></video>')

    def send_endless_page(self):
        self.answer(200, "text/html", b'<html><title>E</title><video src="/endless.mp4"></video>')

    def send_empty_page(self):
        self.answer(200, "text/html", b"<html><title>Nothing</title><p>No film here.</p>")

    def send_text(self):
        self.answer(200, "text/plain", b"hello")

    def send_large(self):
        self.send_response(200)
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Content-Length", str(10**10))
        self.end_headers()

    def send_endless(self):
        """More and more, and no length said."""
        self.send_response(200)
        self.send_header("Content-Type", "video/mp4")
        self.end_headers()
        try:
            while True:
                self.wfile.write(bytes(1 << 16))
        except OSError:
            pass

    def send_drip(self):
        """A byte now and then, so that no wait for a byte is long."""
        self.send_response(200)
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.drip()

    def send_dripping_page(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.drip()

    def drip(self):
        try:
            for _ in range(300):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.1)
        except OSError:
            pass

    def send_cut(self):
        self.send_response(200)
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Content-Length", str(2 * len(self.video)))
        self.end_headers()
        self.wfile.write(self.video)

    def send_silence(self):
        time.sleep(30)

    def send_away(self):
        self.send_response(302)
        self.send_header("Location", "/clip.avi")
        self.end_headers()

    def send_to_file(self):
        self.send_response(302)
        self.send_header("Location", "file:///etc/passwd")
        self.end_headers()

    def send_nothing(self):
        self.answer(404, "text/plain", b"")

    def answer(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server(tmp_path_factory, write_video):
    path = tmp_path_factory.mktemp("served") / "clip.avi"
    Handler.video = write_video(path, small.moving(30, 1)).read_bytes()
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(web_video, "_WAIT", 1)


@pytest.mark.parametrize("name", ["clip.avi", "octets.avi", "away", "clip.avi?signed=yes"])
def test_a_direct_file(server, tmp_path, name):
    path, title = fetch(f"{server}/{name}", tmp_path, Bounds())
    assert path.read_bytes() == Handler.video
    assert path.parent == tmp_path
    assert title == ("octets.avi" if "octets" in name else "clip.avi")


def test_the_video_of_a_page(server, tmp_path):
    path, title = fetch(f"{server}/page.html", tmp_path, Bounds())
    assert path.read_bytes() == Handler.video
    assert "My holiday" in title


REFUSED = {
    "nowhere.mp4": "HTTP 404 Not Found",
    "text": "text/plain, not a video",
    "large.mp4": "more than 1 MB",
    "endless.mp4": "more than 1 MB",
    "cut.mp4": "it broke off",
    "silence": "no answer",
    "large_page": "more than 1 MB",
    "endless_page": "more than 1 MB",
    "empty_page": "a page in which yt-dlp finds no video",
    "drip.mp4": "no end of it within 4 s",
    "dripping_page": "no end of it within 4 s",
    "to_file": None,
}


@pytest.mark.parametrize("name", REFUSED)
def test_faults_are_one_line_and_soon(server, tmp_path, quick, name):
    # The faults of slow servers are told by the clock alone.
    seconds = 4 if "drip" in name else 60
    began = time.monotonic()
    with pytest.raises(UserError) as error:
        fetch(f"{server}/{name}", tmp_path, Bounds(megabytes=1, seconds=seconds))
    assert time.monotonic() - began < 28
    said = str(error.value)
    assert said.startswith(f"Expected a video at {server}/{name}. Received: ")
    assert "\n" not in said
    if REFUSED[name]:
        assert f"Received: {REFUSED[name]}. " in said
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 3e6


def test_a_server_that_is_not_there(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UserError, match="refuses the connection"):
        fetch(f"http://127.0.0.1:{port}/a.mp4", tmp_path, Bounds())


def test_a_name_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no such server, or no network"):
        fetch("http://nowhere.invalid/a.mp4", tmp_path, Bounds())


@pytest.mark.parametrize("name", ["clip.avi", "page.html", "away"])
def test_public_only_connects_to_nothing_here(server, tmp_path, name):
    Handler.asked.clear()
    for host in ("127.0.0.1", "localhost"):
        url = server.replace("127.0.0.1", host)
        with pytest.raises(UserError, match="an address inside the server's network"):
            fetch(f"{url}/{name}", tmp_path, Bounds(public_only=True))
    assert Handler.asked == []


def test_the_watch_sees_through_names_and_redirects(server, tmp_path, monkeypatch):
    # The address that was typed is public; only where its redirect leads is not.
    seen = []
    monkeypatch.setattr(watch, "is_public", lambda address: seen.append(address) or len(seen) == 1)
    with pytest.raises(UserError, match="inside the server's network"):
        fetch(f"{server}/page.html", tmp_path, Bounds(public_only=True))
    assert len(seen) >= 2


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("127.8.8.8", False),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("::", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("example.org", False),
    ],
)
def test_public_addresses(address, public):
    assert watch.is_public((address, 80)) is public


def test_a_socket_of_this_machine_is_not_public():
    assert not watch.is_public("/run/docker.sock")


def test_other_threads_and_later_connections_are_free(server, tmp_path):
    with pytest.raises(UserError):
        fetch(f"{server}/clip.avi", tmp_path, Bounds(public_only=True))
    assert fetch(f"{server}/clip.avi", tmp_path, Bounds())[0].exists()


MESSAGES = {
    "[youtube] x: Private video. Sign in if you've been granted access": "a private video",
    "[youtube] x: The uploader has not made this video available in your country": "this country",
    "[generic] x: This video is not available from your location due to geo restriction": "country",
    "[youtube] x: Video unavailable. It was removed by the uploader": "a deleted video",
    "[youtube] x: Sign in to confirm your age": "for signed-in people only",
    "Unable to download webpage: <urlopen error [Errno -2] Name or service not known>": "no such",
    "Unable to download webpage: [Errno 101] Network is unreachable": "no network",
    "[site] x: This video is DRM protected": "a video under copy protection",
    "Unable to download webpage: HTTP Error 403: Forbidden": "HTTP 403",
}


@pytest.mark.parametrize("message", MESSAGES)
def test_what_yt_dlp_says_is_put_plainly(server, tmp_path, monkeypatch, message):
    def fail(*_, **__):
        raise yt_dlp.utils.DownloadError(f"ERROR: {message}; please report this\nand more")

    monkeypatch.setattr(yt_dlp.YoutubeDL, "extract_info", fail)
    with pytest.raises(UserError) as error:
        fetch(f"{server}/page.html", tmp_path, Bounds())
    assert MESSAGES[message] in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        ({"duration": 7200}, "120 minutes, more than 10"),
        ({"is_live": True}, "a live broadcast"),
    ],
)
def test_too_long_and_live_are_not_downloaded(server, tmp_path, monkeypatch, info, reason):
    from yt_dlp.extractor.generic import GenericIE

    found = {"id": "x", "title": "x", "url": f"{server}/clip.avi", "ext": "avi", **info}
    monkeypatch.setattr(GenericIE, "_real_extract", lambda *_: found)
    Handler.asked.clear()
    with pytest.raises(UserError, match=reason):
        fetch(f"{server}/page.html", tmp_path, Bounds(minutes=10))
    assert "/clip.avi" not in Handler.asked


def test_a_page_without_yt_dlp(server, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    with pytest.raises(UserError, match=r'pip install "har\[youtube\]"'):
        fetch(f"{server}/page.html", tmp_path, Bounds())
    assert fetch(f"{server}/clip.avi", tmp_path, Bounds())[0].exists()


def test_a_url_gives_what_the_file_gives(server, in_tmp_path, monkeypatch, capsys):
    model = small.save(small.frame_by_frame(), in_tmp_path / "lrcn")
    Path("clip.avi").write_bytes(Handler.video)
    sources = ["clip.avi", f"{server}/clip.avi", f"{server}/page.html"]
    words = ["har", "predict", *sources, "--model", str(model), "--json"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 0
    predictions = json.loads(capsys.readouterr().out)["predictions"]
    assert [p["source"] for p in predictions] == sources
    assert predictions[0]["probabilities"] == predictions[1]["probabilities"]
    assert predictions[0]["probabilities"] == predictions[2]["probabilities"]
