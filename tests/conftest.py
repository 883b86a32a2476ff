# ruff: noqa: E402
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

# OpenCV reads these when it loads: bad files are among the cases here, and its complaints about
# them would hide ours.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

from har.nn import process

process.prepare()

import cv2
import numpy as np
import pytest
from hypothesis import settings

# A busy machine is no failure of a law.
settings.register_profile("har", deadline=None)
settings.load_profile("har")

PROJECT = Path(__file__).resolve().parents[1]
BITS = 8
# Minutes each, most of them whole runs of DVC. `make test` leaves them out, `make test-all` runs
# them too.
SLOW = (
    "faults/",
    "pipeline/test_comparison.py",
    "pipeline/test_conflict.py",
    "pipeline/test_documents.py",
    "pipeline/test_every_approach.py",
    "pipeline/test_experiments.py",
    "pipeline/test_mistakes.py",
    "pipeline/test_remote.py",
    "pipeline/test_report.py",
    "pipeline/test_repro.py",
    "pipeline/test_teach.py",
)


def pytest_collection_modifyitems(items):
    tests = Path(__file__).parent
    for item in items:
        if item.path.relative_to(tests).as_posix().startswith(SLOW):
            item.add_marker("slow")


@pytest.hookimpl(optionalhook=True)  # pytest-xdist's
def pytest_xdist_auto_num_workers():
    """One more than there are cores: tests of servers wait most of their time."""
    return (os.cpu_count() or 1) + 1


def pytest_configure(config):
    # TensorFlow's converter calibrates with an interpreter of its own that it calls deprecated.
    config.addinivalue_line(
        "filterwarnings", r"ignore:\s*Warning. tf.lite.Interpreter is deprecated:UserWarning"
    )
    # Keras 3.15 makes NumPy arrays of TensorFlow's variables in the way of NumPy 1.
    config.addinivalue_line(
        "filterwarnings", "ignore:__array__ implementation doesn't accept:DeprecationWarning"
    )


@pytest.fixture
def in_tmp_path(tmp_path, monkeypatch) -> Path:
    """Work in an empty folder: `.work/` and the outputs are relative to the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def real_clips() -> Path:
    folder = os.environ.get("HAR_TEST_CLIPS")
    if not folder:
        pytest.skip("HAR_TEST_CLIPS names no folder of UCF50 clips (Class/clip.avi)")
    return Path(folder)


@pytest.fixture(scope="session")
def coded_frames() -> Callable[..., np.ndarray]:
    """Frames that tell their own index: `coded_frames(n, height=32, width=64)`.

    The width is cut into eight bars, the bits of the index, white for 1. RGB uint8.
    """

    def make(n: int, height: int = 32, width: int = 64) -> np.ndarray:
        bits = np.arange(n)[:, None] >> np.arange(BITS) & 1
        bars = np.repeat(bits * np.uint8(255), width // BITS, axis=1).astype(np.uint8)
        return np.ascontiguousarray(
            np.broadcast_to(bars[:, None, :, None], (n, height, bars.shape[1], 3))
        )

    return make


@pytest.fixture(scope="session")
def read_indices() -> Callable[[np.ndarray], list[int]]:
    """Read the indices back: `read_indices(frames)` of `coded_frames`, at any size."""

    def read(frames: np.ndarray) -> list[int]:
        n, height, width, channels = frames.shape
        bars = frames.reshape(n, height, BITS, width // BITS, channels).mean(axis=(1, 3, 4))
        return ((bars > 127) << np.arange(BITS)).sum(axis=1).tolist()

    return read


@pytest.fixture(scope="session")
def write_video() -> Callable[..., Path]:
    """Write RGB frames as a video: `write_video(path, frames, codec="MJPG", fps=25)`."""

    def write(path: Path, frames: np.ndarray, codec: str = "MJPG", fps: float = 25) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = frames.shape[1:3]
        fourcc = cv2.VideoWriter_fourcc(*codec)
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, fps, (width, height))
        assert writer.isOpened()
        for frame in frames:
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        writer.release()
        return path

    return write


@pytest.fixture(scope="session")
def write_jpegs() -> Callable[..., Path]:
    """Write RGB images of any sizes one after the other: a raw MJPEG stream, without a header."""

    def write(path: Path, images: list[np.ndarray]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        bgr = [cv2.cvtColor(image, cv2.COLOR_RGB2BGR) for image in images]
        path.write_bytes(b"".join(cv2.imencode(".jpg", image)[1].tobytes() for image in bgr))
        return path

    return write


@pytest.fixture(scope="session")
def cut() -> Callable[[Path, float], None]:
    """Truncate an AVI: `cut(path, share)` keeps the header and this share of what follows."""

    def truncate(path: Path, share: float) -> None:
        data = path.read_bytes()
        header = data.index(b"movi") + 4
        path.write_bytes(data[: header + int(share * (len(data) - header))])

    return truncate


@pytest.fixture(scope="session")
def patch_avi() -> Callable[..., None]:
    """Change what an AVI's header says: `patch_avi(path, n_frames=…, rate=…, scale=…)`.

    AVI RIFF File Reference: dwTotalFrames of `avih`; dwScale, dwRate and dwLength of `strh`.
    """

    def patch(path: Path, **fields: int) -> None:
        data = bytearray(path.read_bytes())
        main, stream = data.index(b"avih") + 8, data.index(b"strh") + 8
        places = {
            "n_frames": (main + 16, stream + 32),
            "scale": (stream + 20,),
            "rate": (stream + 24,),
        }
        for name, value in fields.items():
            for place in places[name]:
                struct.pack_into("<I", data, place, value)
        path.write_bytes(data)

    return patch


@pytest.fixture(scope="session")
def run_python() -> Callable[..., subprocess.CompletedProcess]:
    """Run code in a fresh interpreter that can import `har`: `run_python(code, *arguments)`."""

    def run(code: str, *arguments: object, cwd: Path = PROJECT) -> subprocess.CompletedProcess:
        path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
        env = {**os.environ, "PYTHONPATH": path}
        env.pop("TF_CPP_MIN_LOG_LEVEL", None)  # JAX sets it here, where it loads before `har`
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=cwd,
            env=env,
            capture_output=True,
            text=True,
            timeout=300,  # JAX compiles for a minute where cores are slow and shared
            check=False,
        )

    return run
