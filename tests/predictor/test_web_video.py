import http.server
import importlib.util
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
from har.predictor import web_video
from har.predictor.web_video import Bounds, fetch

pytest.importorskip("yt_dlp", reason="yt-dlp, the extra youtube, is not installed")


class Handler(http.server.BaseHTTPRequestHandler):
    """A server with a video and every fault; what it serves is in `video`."""

    video = b""
    asked: list[str] = []  # noqa: RUF012

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        if self.command == "GET":
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

    def send_two_hours(self):
        facts = {
            "@context": "https://schema.org",
            "@type": "VideoObject",
            "name": "Two hours",
            "duration": "PT2H",
            "contentUrl": f"http://{self.headers['Host']}/clip.avi",
        }
        page = f'<html><script type="application/ld+json">{json.dumps(facts)}</script></html>'
        self.answer(200, "text/html", page.encode())

    def send_busy_page(self):
        self.answer(503, "text/html", b"<html>Later</html>")

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
    path = fetch(f"{server}/{name}", tmp_path, Bounds())
    assert path.read_bytes() == Handler.video
    assert path.parent == tmp_path


def test_the_video_of_a_page(server, tmp_path):
    path = fetch(f"{server}/page.html", tmp_path, Bounds())
    assert path.read_bytes() == Handler.video


REFUSED = {
    "nowhere.mp4": "HTTP 404 Not Found",
    "text": "it is text/plain, not a video",
    "large.mp4": "more than 1 MB",
    "endless.mp4": "more than 1 MB",
    "cut.mp4": "IncompleteRead",
    "silence": "no answer within 1 s",
    "large_page": "more than 1 MB",
    "endless_page": "more than 1 MB",
    # yt-dlp's own words.
    "empty_page": "Unsupported URL: ",
    "busy_page": "HTTP Error 503: Service Unavailable",
    "drip.mp4": "it takes longer than 4 s",
    "dripping_page": "it takes longer than 4 s",
    "to_file": "",
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
    head, _, reason = said.partition(f"{server}/{name}: ")
    assert head == "No video could be downloaded from "
    assert "\n" not in said
    assert REFUSED[name] in reason
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < (
        1e8 if name == "endless_page" else 3e6
    )


def test_a_server_that_is_not_there(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UserError, match="Connection refused"):
        fetch(f"http://127.0.0.1:{port}/a.mp4", tmp_path, Bounds())


def test_a_name_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"[Nn]ame|resol"):
        fetch("http://nowhere.invalid/a.mp4", tmp_path, Bounds())


def test_a_server_for_others_takes_no_addresses(server, tmp_path):
    Handler.asked.clear()
    with pytest.raises(UserError, match="takes no addresses"):
        fetch(f"{server}/clip.avi", tmp_path, Bounds(addresses=False))
    assert Handler.asked == []


def test_too_long_is_not_downloaded(server, tmp_path):
    with pytest.raises(UserError, match="longer than 10 minutes"):
        fetch(f"{server}/two_hours.html", tmp_path, Bounds(minutes=10))
    assert list(tmp_path.iterdir()) == []
    path = fetch(f"{server}/two_hours.html", tmp_path, Bounds(minutes=150))
    assert path.read_bytes() == Handler.video


def test_a_page_without_yt_dlp(server, tmp_path, monkeypatch):
    spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "yt_dlp" else spec(n))
    with pytest.raises(UserError, match=r'pip install "har-lab\[youtube\]"'):
        fetch(f"{server}/page.html", tmp_path, Bounds())
    assert fetch(f"{server}/clip.avi", tmp_path, Bounds()).exists()


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
