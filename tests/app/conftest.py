import json
import os
import re
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import NamedTuple

import pytest

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
        "loss": 0.5,
        "n_test": 144,
        "n_groups": 36,
        "chance": 1 / 3,
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
    """Ask the JSON door: `ask(server, file or None, url, model)`; `(answer, None)` or error."""

    def post(address: str, data: bytes, kind: str = "application/json"):
        request = urllib.request.Request(address, data, {"Content-Type": kind})
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.loads(response.read())

    def upload(server: Server, path: Path) -> str:
        bound = "----boundary"
        head = (
            f'--{bound}\r\nContent-Disposition: form-data; name="files"; '
            f'filename="{path.name}"\r\nContent-Type: application/octet-stream\r\n\r\n'
        )
        body = head.encode() + path.read_bytes() + f"\r\n--{bound}--\r\n".encode()
        kind = f"multipart/form-data; boundary={bound}"
        return post(f"{server.url}/gradio_api/upload", body, kind)[0]

    def call(server: Server, file: str | None, url: str = "", model: str = "lrcn"):
        data = {"path": file, "meta": {"_type": "gradio.FileData"}} if file else None
        body = json.dumps({"data": [data, url, model]}).encode()
        address = f"{server.url}/gradio_api/call/recognise"
        event = post(address, body)["event_id"]
        with urllib.request.urlopen(f"{address}/{event}", timeout=120) as response:
            stream = response.read().decode()
        kind = re.findall(r"^event: (\w+)$", stream, re.MULTILINE)[-1]
        data = json.loads(re.findall(r"^data: (.*)$", stream, re.MULTILINE)[-1])
        return (data[0], None) if kind == "complete" else (None, data)

    def ask(server: Server, path: Path | None, url: str = "", model: str = "lrcn"):
        return call(server, upload(server, path) if path else None, url, model)

    ask.upload, ask.call = upload, call
    return ask
