import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

import pytest
import requests

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import predictor_models as small

PROJECT = Path(__file__).resolve().parents[2]


class Server(NamedTuple):
    url: str
    process: subprocess.Popen
    folder: Path
    lines: list[str]


@pytest.fixture(scope="session")
def start():
    """Run `har serve` as its own process: `start(folder, *arguments)`; ended after the tests."""
    processes = []

    def run(folder: Path, *arguments: str) -> Server:
        code = "import sys; sys.argv[0] = 'har'; from har.cli import main; main()"
        temporary = folder / "temporary"
        temporary.mkdir(exist_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-c", code, "serve", "--port", "0", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(PROJECT), "TMPDIR": str(temporary)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        processes.append(process)
        lines = []
        for line in process.stdout:
            lines.append(line)
            if found := re.search(r"^(http://\S+)", line):
                break
        else:
            pytest.fail(f"har serve ended: {''.join(lines)}")
        threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True).start()
        return Server(found[1].replace("0.0.0.0", "127.0.0.1"), process, folder, lines)

    yield run
    for process in processes:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="session")
def project(tmp_path_factory, write_video) -> Path:
    """A project with a small untrained model, its figures and a video of each class."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        small.save(small.frame_by_frame(), folder / "models" / "lrcn", seconds=1.0)
        small.save(small.whole_clips(), folder / "models" / "convlstm", seconds=1.0)
    figures = {
        "accuracy": 0.8,
        "accuracy_low": 0.71,
        "accuracy_high": 0.88,
        "macro_f1": 0.79,
        "loss": 0.5,
        "n_test": 144,
        "n_groups": 36,
        "chance": 1 / 3,
        "parameters": 1000,
        "shortcuts": {"as_is": {"accuracy": 0.8}, "still": {"accuracy": 0.4}},
    }
    (folder / "metrics").mkdir()
    table = {"lrcn": figures, "convlstm": figures | {"accuracy": 0.6}}
    (folder / "metrics" / "metrics.json").write_text(json.dumps(table))
    for seed in range(3):
        write_video(folder / f"clip{seed}.avi", small.moving(50, seed, 120, 162))
    return folder


@pytest.fixture(scope="session")
def server(start, project) -> Server:
    return start(project, "--max-mb", "5", "--max-minutes", "1")


@pytest.fixture(scope="session")
def ask():
    """Ask `POST /recognise`: `ask(server, file or None, url, model)`; `(answer, None)` or error."""

    def ask(server: Server, path: Path | None, url: str = "", model: str = "lrcn"):
        with contextlib.ExitStack() as stack:
            form = {"url": (None, url), "model": (None, model)}
            if path:
                form["file"] = (path.name, stack.enter_context(path.open("rb")))
            reply = requests.post(f"{server.url}/recognise", files=form, timeout=120)
        answer = reply.json()
        return (answer, None) if reply.ok else (None, answer["error"])

    return ask


@pytest.fixture(scope="session")
def press():
    """Send inputs to a function of the page as a browser does: `press(server, function, *data)`.

    Returns what the server sends last: `{"success": …, "output": …}`.
    """

    def press(server: Server, function: str, *data):
        config = requests.get(f"{server.url}/config", timeout=30).json()
        (index,) = [d["id"] for d in config["dependencies"] if d["api_name"] == function]
        base, session = f"{server.url}/gradio_api/queue", {"session_hash": os.urandom(5).hex()}
        body = {"data": list(data), "fn_index": index, **session}
        assert requests.post(f"{base}/join", json=body, timeout=30).ok
        with requests.get(f"{base}/data", session, stream=True, timeout=60) as stream:
            for line in filter(None, stream.iter_lines()):
                message = json.loads(line.removeprefix(b"data: "))
                if message["msg"] == "process_completed":
                    return message
        raise AssertionError("no answer")

    return press
