"""The page as a person meets it: a real browser, a file, a camera that shows a known clip."""

import shutil
from pathlib import Path

import numpy as np
import predictor_models as small
import pytest

from har.clips import video
from har.predictor.prediction import Settings, predict
from har.predictor.recogniser import Recogniser

pytest.importorskip("gradio", reason="Gradio, the extra app, is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium on the path")

# Texts and controls that a person sees and that reach past the window's right edge.
_BEYOND = """width => [...document.querySelectorAll(
  '#warning p, #said h2, #speed p, #label, #film video, #seen, #go, #upload, #model, [role=tab]')]
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

    def go(size=WIDE, url=server.url):
        contexts.append(browser.new_context(viewport=size, permissions=["camera"]))
        page = contexts[-1].new_page()
        page.asked, page.errors = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.goto(url)
        page.wait_for_selector("#upload input[type=file]", state="attached")
        return page

    yield go
    for context in contexts:
        context.close()


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
        page.wait_for_function(f"document.querySelectorAll('#seen img').length >= {small.SHAPE[0]}")
        assert "frames a second" in page.inner_text("#speed")
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


def test_it_says_what_it_knows_and_how_well(visit):
    page = visit()
    warning = page.inner_text("#warning")
    assert all(name in warning for name in small.CLASSES)
    assert "nothing else" in warning
    page.get_by_role("tab", name="How good is it?").click()
    card = page.inner_text("#card")
    assert "80.0%" in card
    assert "71% to 88%" in card
    assert "33.3%" in card


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
