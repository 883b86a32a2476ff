"""The page as a person meets it: a real browser, a file, a camera that shows a known clip."""

import http.server
import json
import re
import shutil
import threading
from pathlib import Path

import numpy as np
import predictor_models as small
import pytest
import requests

from har import plots
from har.app.limits import Limits
from har.app.service import Service
from har.clips import video
from har.predictor.prediction import Settings, predict
from har.predictor.recogniser import Recogniser

pytest.importorskip("gradio", reason="Gradio, the extra app, is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

from har.app import page as page_module  # noqa: E402 (it loads Gradio)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium on the path")

# Texts and controls that a person sees and that reach past the window's right edge.
_BEYOND = """width => [...document.querySelectorAll(
  '#warning p, #said h2, #speed p, #label, #film video, #saved > *, #upload, #model, [role=tab]')]
  .filter(e => e.offsetParent && e.getBoundingClientRect().right > width + 1)
  .map(e => e.id + ' ' + e.textContent)"""
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def filmed(project) -> Path:
    """What the camera sees: clip 2, over and over, as raw Motion JPEG."""
    av = pytest.importorskip("av", reason="PyAV writes the camera's film")
    path = project / "camera.mjpeg"
    with av.open(str(path), "w", format="mjpeg") as film:
        stream = film.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuvj420p"
        stream.options = {"q": "2"}
        for _, frame in video.timed(project / "clip2.avi"):
            film.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24").reformat(320, 240)))
        film.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def browser(filmed):
    with playwright.sync_playwright() as play:
        launched = play.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-video-capture={filmed}",
            ],
        )
        yield launched
        launched.close()


@pytest.fixture
def visit(browser, server):
    """Open the page: `visit(size)`; what it asked for and its errors are in `.asked`, `.errors`."""
    contexts = []

    def go(size=WIDE, url=server.url, before=""):
        contexts.append(browser.new_context(viewport=size, permissions=["camera"]))
        page = contexts[-1].new_page()
        page.add_init_script(before)
        page.asked, page.errors = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.goto(url)
        page.wait_for_selector("#upload input[type=file]", state="attached")
        return page

    yield go
    for context in contexts:
        context.close()


@pytest.fixture
def files(project) -> str:
    """A web server of the project's files."""

    def handler(*arguments):
        return http.server.SimpleHTTPRequestHandler(*arguments, directory=project)

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()


def expected(project: Path, name: str, model: str = "lrcn") -> str:
    recogniser = Recogniser.open(project / "models" / model)
    row = predict(recogniser, project / name, Settings(), "").overall
    return small.CLASSES[int(row.argmax())] if row.max() >= 0.5 else "unknown"


@pytest.mark.parametrize("size", [WIDE, PHONE])
def test_an_uploaded_clip_is_recognised(visit, project, size):
    page = visit(size)
    for name in ("clip0.avi", "clip1.avi"):
        page.reload()
        page.set_input_files("#upload input[type=file]", project / name)
        page.wait_for_selector("#said h2", timeout=60_000)
        assert page.inner_text("#said h2") == expected(project, name)
        # The film plays: it has a length, and its time goes on.
        page.wait_for_function("document.querySelector('#film video')?.duration > 1.9")
        page.evaluate("document.querySelector('#film video').play()")
        page.wait_for_function("document.querySelector('#film video').currentTime > 0.3")
        assert re.search(r"recognised in [\d.]+ s$", page.inner_text("#speed"))
        assert f"{name} · lrcn" in page.inner_text("#said")
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        # What the page cuts off at its edge would not make the document wider.
        assert page.evaluate(_BEYOND, size["width"]) == []
    assert page.errors == []


def test_the_page_talks_to_its_own_server_alone(visit, server, project):
    page = visit()
    page.set_input_files("#upload input[type=file]", project / "clip0.avi")
    page.wait_for_selector("#said h2", timeout=60_000)
    assert len(page.asked) > 10
    own = (server.url, server.url.replace("http", "ws", 1), "data:", "blob:")
    assert [url for url in page.asked if not url.startswith(own)] == []


def test_what_is_given_last_counts(visit, project, files):
    """An address that was left in its box does not beat an upload, nor the other way round."""
    address = f"{files}/clip1.avi"
    page = visit()
    page.get_by_text("Or an address").click()
    box = page.locator("#url input, #url textarea")
    box.fill("http://127.0.0.1:9/left.avi")
    page.set_input_files("#upload input[type=file]", project / "clip0.avi")
    page.get_by_text("clip0.avi · lrcn").wait_for(timeout=60_000)
    page.wait_for_function("!document.querySelector('#url input, #url textarea').value")
    page.locator("#go").click()
    page.wait_for_timeout(1500)
    assert "clip0.avi · lrcn" in page.inner_text("#said")
    box.fill(address)
    page.locator("#go").click()
    page.get_by_text(f"{address} · lrcn").wait_for(timeout=60_000)
    assert page.inner_text("#said h2") == expected(project, "clip1.avi")
    assert page.errors == []


def test_another_model_answers_on_the_same_video(visit, project):
    page = visit()
    page.set_input_files("#upload input[type=file]", project / "clip0.avi")
    page.wait_for_selector("#film video", timeout=60_000)
    page.locator("#model input").click()
    page.get_by_role("option", name="convlstm").click()
    page.get_by_text("clip0.avi · convlstm").wait_for(timeout=60_000)
    assert page.inner_text("#said h2") == expected(project, "clip0.avi", "convlstm")


@pytest.fixture(scope="module")
def with_examples(start, project, tmp_path_factory, write_video):
    """A server of a project with a split, so with clips to try."""
    folder = tmp_path_factory.mktemp("examples")
    for name in ("models", "metrics"):
        shutil.copytree(project / name, folder / name)
    card = folder / "models/lrcn/card.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"protocol": "group", "fold": 0}))
    rows = ["clip,class,group,group_fold,random_fold,duplicate_of"]
    for fold, label in enumerate(small.CLASSES * 3):
        clip = f"{label}/v_{label}_g{fold:02}_c01.avi"
        (folder / "data/fetched" / label).mkdir(parents=True, exist_ok=True)
        write_video(folder / "data/fetched" / clip, small.moving(50, fold, 120, 162))
        rows.append(f"{clip},{label},g{fold:02},{fold // 3},{fold // 3},")
    (folder / "data/split.csv").write_text("\n".join(rows) + "\n")
    (folder / "metrics/lrcn").mkdir()
    plots.confusion(folder / "metrics/lrcn/confusion.png", np.eye(3, dtype=int), small.CLASSES, "")
    return start(folder)


@pytest.mark.parametrize("size", [WIDE, PHONE])
def test_it_opens_with_an_answer(visit, with_examples, size):
    page = visit(size, with_examples.url)
    page.wait_for_selector("#said h2")
    assert "Jump.mp4 · lrcn" in page.inner_text("#said")
    page.wait_for_function("document.querySelector('#film video')?.duration > 1.9")
    assert page.locator("#said h2").bounding_box()["y"] < 700  # near the top, on a phone too
    page.locator("#examples button").nth(2).click()
    page.get_by_text("Swim.mp4 · lrcn").wait_for(timeout=60_000)
    with page.expect_download() as saved:
        page.locator("#saved").get_by_text("JSON").click()
    (found,) = json.loads(saved.value.path().read_text())["predictions"]
    assert (found["source"], found["kind"]) == ("Swim.mp4", "clip")
    page.get_by_role("tab", name="How good is it?").click()
    page.wait_for_function("document.querySelector('#confusion img')?.naturalWidth > 100")
    assert page.evaluate(_BEYOND, size["width"]) == []
    assert page.errors == []


def test_a_timeline_and_the_film_move_each_other(visit, project, write_video, tmp_path):
    write_video(tmp_path / "long.avi", small.moving(35 * 25, 1, 48, 64))
    page = visit()
    page.set_input_files("#upload input[type=file]", tmp_path / "long.avi")
    page.wait_for_function("document.querySelector('#film video')?.duration > 34", timeout=90_000)
    strip = page.locator("#timeline .strip")
    strip.scroll_into_view_if_needed()
    box = strip.bounding_box()
    strip.click(position={"x": box["width"] / 2, "y": 10})
    now = "document.querySelector('#film video').currentTime"
    page.wait_for_function(f"Math.abs({now} - 17.5) < 0.5")
    page.wait_for_function(
        "parseFloat(document.querySelector('#timeline .strip').style.getPropertyValue('--at')) > 48"
    )
    page.locator("#timeline [data-at]").first.click()
    page.wait_for_function(f"{now} < 0.1")
    with page.expect_download() as saved:
        page.locator("#saved").get_by_text("Subtitles").click()
    assert saved.value.suggested_filename == "answer.srt"
    assert page.errors == []


def test_cancel_ends_the_work(visit, project, write_video, tmp_path):
    write_video(tmp_path / "long.avi", small.moving(59 * 25, 1, 48, 64))
    page = visit()
    assert not page.locator("#stop").is_visible()
    page.set_input_files("#upload input[type=file]", tmp_path / "long.avi")
    page.wait_for_selector("#timeline .strip", timeout=90_000)  # the answer is first
    page.locator("#stop").click()
    page.get_by_text("Cancelled.").first.wait_for()
    assert page.locator("#timeline .strip").is_visible()
    page.wait_for_selector("#stop", state="hidden")


def test_a_file_of_a_camcorder_may_be_uploaded(visit, project, tmp_path):
    shutil.copy(project / "clip0.avi", tmp_path / "00001.MTS")
    page = visit()
    page.set_input_files("#upload input[type=file]", tmp_path / "00001.MTS")
    page.get_by_text("00001.MTS · lrcn").wait_for(timeout=60_000)


class _Proxy(http.server.BaseHTTPRequestHandler):
    """Passes what is asked below /lab/har on to `server`, as nginx's proxy_pass with a path."""

    protocol_version = "HTTP/1.0"

    def do_GET(self):
        if not self.path.startswith("/lab/har/"):
            self.server.astray.append(self.path)
            return self.send_error(404)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        address = self.server.target + self.path.removeprefix("/lab/har")
        headers = {k: v for k, v in self.headers.items() if k.lower() != "connection"}
        with requests.request(
            self.command, address, data=body, headers=headers, stream=True, timeout=60
        ) as reply:
            self.send_response(reply.status_code)
            for name in ("Content-Type", "Content-Range", "Accept-Ranges"):
                if name in reply.headers:
                    self.send_header(name, reply.headers[name])
            self.end_headers()
            for chunk in reply.iter_content(None):
                self.wfile.write(chunk)
                self.wfile.flush()

    do_POST = do_GET  # noqa: N815 (the standard library's name)

    def log_message(self, *_):
        pass


def test_it_works_behind_a_proxy_with_a_path(visit, start, project):
    server = start(project, "--root-path", "/lab/har")
    proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Proxy)
    proxy.target, proxy.astray = server.url, []
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    page = visit(url=f"http://127.0.0.1:{proxy.server_port}/lab/har/")
    page.set_input_files("#upload input[type=file]", project / "clip0.avi")
    page.wait_for_selector("#film video", timeout=60_000)
    page.wait_for_function("document.querySelector('#film video')?.duration > 1.9")
    assert page.inner_text("#said h2") == expected(project, "clip0.avi")
    assert [path for path in proxy.astray if path != "/favicon.ico"] == []
    proxy.shutdown()


def test_source_videos_are_named_only_where_groups_are_known(project):
    grouped, alone = ({"name": "folder", "grouped": known} for known in (True, False))
    for facts, said, one_a_fold in (
        ({"protocol": "group", "fold": 0, "dataset": grouped}, True, False),
        ({"protocol": "group", "fold": None, "dataset": grouped}, True, True),
        ({"protocol": "group", "fold": 0, "dataset": alone}, False, False),
        ({"protocol": "random", "fold": 0, "dataset": grouped}, False, False),
        ({"protocol": "group", "fold": 0}, False, False),
    ):
        service = Service(project / "models", project / "metrics", Limits())
        service.recogniser("lrcn").card |= facts
        card = page_module._card(service, "lrcn")
        assert ("never saw" in card) == said
        assert ("one model a fold" in card) == one_a_fold
        assert ("tested over all folds" in card) == one_a_fold
        service.close()


def test_a_bad_file_is_told_and_the_page_goes_on(visit, project, tmp_path):
    (tmp_path / "text.mp4").write_text("hello " * 100)
    page = visit()
    page.set_input_files("#upload input[type=file]", tmp_path / "text.mp4")
    page.get_by_text("a text file, not a video").first.wait_for(timeout=60_000)
    page.reload()
    page.set_input_files("#upload input[type=file]", project / "clip0.avi")
    page.wait_for_selector("#said h2", timeout=60_000)


def test_the_camera_is_recognised_within_five_seconds(visit, server, project, filmed):
    recogniser = Recogniser.open(project / "models" / "lrcn")
    # The clip goes round and round: what is right depends on where it begins.
    frames = np.stack([f for _, f in video.timed(filmed, *small.SHAPE[1:])])
    round_and_round = np.concatenate([frames, frames])
    picks = video.even_indices(25, small.SHAPE[0])
    windows = np.stack([round_and_round[i + picks] for i in range(len(frames))])
    right = {small.CLASSES[i] for i in recogniser.probabilities(windows).argmax(axis=1)}
    page = visit()
    page.get_by_role("tab", name="Camera").click()
    page.get_by_text("Click to Access Webcam").click()
    page.locator("#camera button:visible", has_text="Record").click()
    page.wait_for_selector("#now h2", timeout=5000)
    page.wait_for_timeout(2500)
    assert page.inner_text("#now h2") in right | {"unknown"}
    best = page.locator("#live .confidence-set, #live dt, #live .label").first.inner_text()
    assert best.split()[0] in right
    assert "frames a second" in page.inner_text("#pace")
    assert page.errors == []


REJECTED = (
    "navigator.mediaDevices.getUserMedia = async () => {{ throw new DOMException('', '{}'); }}"
)


@pytest.mark.parametrize(
    ("browser_does", "told"),
    [
        (REJECTED.format("NotAllowedError"), "The browser refused the camera. Allow it"),
        (REJECTED.format("NotFoundError"), "There is no camera to use (NotFoundError)"),
        # As on a page at http:// of another machine.
        ("Object.defineProperty(navigator, 'mediaDevices', {value: undefined})", "at https://"),
    ],
)
def test_a_camera_that_is_refused_says_so(visit, browser_does, told):
    page = visit(before=browser_does)
    page.get_by_role("tab", name="Camera").click()
    assert "which keeps none" in page.inner_text("#now")
    page.get_by_text("Click to Access Webcam").click()
    page.locator("#refused", has_text=told).wait_for(timeout=5000)


def test_it_says_what_it_knows_and_how_well(visit):
    page = visit()
    warning = page.inner_text("#warning")
    assert all(name in warning for name in small.CLASSES)
    assert "nothing else" in warning
    page.get_by_role("tab", name="How good is it?").click()
    card = page.inner_text("#card")
    assert "80.0%" in card
    assert "71% to 88%" in card
    assert "lrcn" in card
    assert "33.3%" in card
    page.get_by_role("row", name="one frame of each, repeated 40%").wait_for()


def test_another_model_may_be_chosen(visit, project):
    page = visit()
    page.locator("#model input").click()
    page.get_by_role("option", name="convlstm").click()
    page.get_by_role("tab", name="How good is it?").click()
    page.get_by_text("60.0%").wait_for(timeout=60_000)
    page.get_by_role("tab", name="Video").click()
    page.set_input_files("#upload input[type=file]", project / "clip1.avi")
    page.wait_for_selector("#said h2", timeout=60_000)
    assert page.inner_text("#said h2") == expected(project, "clip1.avi", "convlstm")
