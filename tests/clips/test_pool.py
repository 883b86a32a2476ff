"""Dying, hanging and remote workers, with real processes.

A `sitecustomize.py` on the workers' path spoils `har.clips.video.read_clip` for some files, by name.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from har.clips import extraction, pool
from har.errors import UserError

VIDEOS = Path("data/videos")
OUTPUT = Path("data/frames.h5")
SHAPE = (4, 16, 32)
PROJECT = Path(extraction.__file__).parents[2]
SPOIL = """
import os, signal, time
import wrapt

def spoil(video):
    read_clip = video.read_clip
    def spoilt(path, *arguments):
        if "segfault" in path.name:
            os.kill(os.getpid(), signal.SIGSEGV)
        if "killed" in path.name:
            os.kill(os.getpid(), signal.SIGKILL)
        if "hang" in path.name:
            time.sleep(600)
        return read_clip(path, *arguments)
    video.read_clip = spoilt

wrapt.register_post_import_hook(spoil, "har.clips.video")
"""
DRIVER = """
import json
from pathlib import Path
from har import files
from har.clips import extraction
extraction.SECONDS = float({seconds})
clips, rejected = extraction.extract(Path("data/videos"), (4, 16, 32), Path("data/frames.h5"))
files.write_csv(Path("data/clips.csv"), ["clip"], [(clip.clip, *clip.__dict__.values()) for clip in clips])
Path("rejected.json").write_text(json.dumps(rejected))
"""  # noqa: E501


@pytest.fixture
def clips(in_tmp_path, write_video, coded_frames) -> list[str]:
    names = [f"{label}/v_{label}_g{i:02}_c01.avi" for label in ("Jump", "Run") for i in range(15)]
    for i, name in enumerate(names):
        write_video(VIDEOS / name, coded_frames(40 + i)[i:])
    return names


def start(code: str, folder: Path, *path: Path, **variables: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, [*path, PROJECT, *sys.path[1:]])),
            **variables,
        },
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("spoilt", "seconds", "reasons"),
    [
        (["segfault"], 100, ["the decoder crashed (SIGSEGV)"]),
        (["killed"], 100, ["the decoder crashed (SIGKILL)"]),
        (["hang"], 3, ["the decoder hangs: no end after 3 s"]),
        (
            ["hang", "killed", "segfault"],
            3,
            [
                "the decoder hangs: no end after 3 s",
                "the decoder crashed (SIGKILL)",
                "the decoder crashed (SIGSEGV)",
            ],
        ),
    ],
)
def test_a_file_that_kills_or_hangs_its_worker_costs_itself_alone(
    clips, tmp_path, spoilt, seconds, reasons
):
    expected, _ = extraction.extract(VIDEOS, SHAPE, OUTPUT, n_jobs=1)
    pixels = OUTPUT.read_bytes()
    shutil.rmtree(".work")
    OUTPUT.unlink()
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(SPOIL)
    for name in spoilt:
        shutil.copy(VIDEOS / clips[7], VIDEOS / f"Run/{name}.avi")
        with (VIDEOS / f"Run/{name}.avi").open("ab") as file:
            file.write(name.encode())
    process = start(DRIVER.format(seconds=seconds), tmp_path, hook)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    rejected = [[f"Run/{n}.avi", "Run", reason] for n, reason in zip(spoilt, reasons, strict=True)]
    assert json.loads(Path("rejected.json").read_text()) == rejected
    assert OUTPUT.read_bytes() == pixels
    assert len(Path("data/clips.csv").read_text().splitlines()) == 1 + len(expected)


def echo(value):
    if isinstance(value, Path):  # a mark that this has been tried once
        tried = value.exists()
        value.touch()
        if not tried:
            os.kill(os.getpid(), signal.SIGKILL)
    print("what a library prints is no answer")
    return value


def refuse(value):
    raise ValueError(f"not {value}")


@pytest.fixture
def importable(monkeypatch):
    """Let processes import this file."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return __import__(Path(__file__).stem)


def jobs(*values):
    return {str(i): processes.Job((value,), 60.0) for i, value in enumerate(values)}


@pytest.mark.parametrize("n", [1, 3])
def test_a_crew_answers_every_call_of_every_turn(importable, n):
    with processes.Crew(importable.echo, n) as crew:
        for turn in (range(40), range(3), ()):
            assert dict(crew.each(jobs(*turn))) == {str(i): value for i, value in enumerate(turn)}


def test_a_file_whose_worker_was_killed_for_anothers_sake_is_kept(importable, tmp_path):
    mark = tmp_path / "tried"
    with processes.Crew(importable.echo, 2) as crew:
        results = dict(crew.each(jobs(1, mark, 2, 3)))
    assert results == {"0": 1, "1": mark, "2": 2, "3": 3}


def test_what_the_function_raises_comes_out_and_leaves_no_process(importable):
    before = psutil.Process().children()
    with (
        processes.Crew(importable.refuse, 2) as crew,
        pytest.raises(ValueError, match="not 7") as caught,
    ):
        list(crew.each(jobs(7, 7, 7)))
    assert "In a worker process" in caught.value.__notes__[0]
    assert psutil.Process().children() == before


def test_leaving_in_the_middle_leaves_no_process(importable):
    before = psutil.Process().children()
    with processes.Crew(importable.echo, 2) as crew:
        results = crew.each(jobs(*range(50)))
        next(results)
        results.close()
        assert psutil.Process().children() == before


def test_a_worker_that_cannot_load_the_function_is_no_ones_fault(monkeypatch, capfd):
    monkeypatch.setattr(worker, "COMMAND", "raise SystemExit('no such module')")
    with (
        processes.Crew(echo, 2) as crew,
        pytest.raises(RuntimeError, match="ended with code 1 before its first file"),
    ):
        list(crew.each(jobs(1)))
    assert "no such module" in capfd.readouterr().err


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def cluster(tmp_path_factory):
    """Start `dask scheduler` and `dask worker` processes: `cluster(n, path)` gives the address."""
    pytest.importorskip("distributed")
    running: list[subprocess.Popen] = []
    logs = tmp_path_factory.mktemp("dask")

    def launch(n_workers: int, *path: Path) -> str:
        address = f"tcp://127.0.0.1:{free_port()}"
        dask = [sys.executable, "-m", "dask"]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, [*path, *sys.path[1:]])),
        }
        command = [*dask, "scheduler", "--host", address, "--no-dashboard", "--no-show"]
        worker = [*dask, "worker", address, "--nthreads", "1", "--no-dashboard"]
        for i, arguments in enumerate([command, *[worker] * n_workers]):
            folder = logs / str(i)
            folder.mkdir()
            with (folder / "log").open("w") as log:
                running.append(
                    subprocess.Popen(
                        arguments,
                        cwd=folder,
                        env=environment,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )
        from distributed import Client

        with Client(address, timeout=60) as client:
            if n_workers:
                client.wait_for_workers(n_workers, timeout=60)
        return address

    yield launch
    for process in running:
        os.killpg(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + 15
    for process in running:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def dask(monkeypatch):
    def use(address: str) -> None:
        monkeypatch.setenv("HAR_JOBLIB_BACKEND", "dask")
        monkeypatch.setenv("HAR_DASK_SCHEDULER", address)

    return use


def test_two_dask_workers_give_the_bytes_of_a_local_run(clips, tmp_path, cluster, dask):
    assert start(DRIVER.format(seconds=100), tmp_path).wait(timeout=120) == 0
    local = OUTPUT.read_bytes(), Path("data/clips.csv").read_bytes()
    shutil.rmtree(".work")
    OUTPUT.unlink()
    address = cluster(2, PROJECT)
    process = start(
        DRIVER.format(seconds=100),
        tmp_path,
        HAR_JOBLIB_BACKEND="dask",
        HAR_DASK_SCHEDULER=address,
    )
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert (OUTPUT.read_bytes(), Path("data/clips.csv").read_bytes()) == local
    # Each of the two workers did a part of it.
    from distributed import Client

    with Client(address) as client:
        moved = client.run(lambda dask_worker: len(dask_worker.state.log))
        assert len(moved) == 2
        assert min(moved.values()) > 0


def test_a_scheduler_without_workers(clips, cluster, dask):
    dask(cluster(0))
    with pytest.raises(UserError, match=r"Expected workers at the Dask scheduler .* none"):
        extraction.extract(VIDEOS, SHAPE, OUTPUT)


def test_dask_workers_without_this_project(clips, cluster, dask, tmp_path):
    (tmp_path / "har").mkdir()
    (tmp_path / "har/__init__.py").write_text("raise ImportError('another har')")
    dask(cluster(1, tmp_path))
    with pytest.raises(UserError, match="Expected this version of har on every Dask worker"):
        extraction.extract(VIDEOS, SHAPE, OUTPUT)


def test_workers_that_do_not_see_the_folder_are_named(tmp_path, monkeypatch):
    class Client:
        """Stands for workers on a machine with another disk."""

        def run(self, function, path):
            return {"tcp://a:1": function(path), "tcp://b:2": function("/elsewhere" + path)}

    with pytest.raises(UserError, match=r"Received: tcp://b:2 does not\. .*same path"):
        workers._ask(Client(), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("tcp://127.0.0.1:1", "Expected a Dask scheduler at HAR_DASK_SCHEDULER=tcp://127.0.0.1:1"),
        ("nonsense://x", "Expected a Dask scheduler at HAR_DASK_SCHEDULER=nonsense://x"),
        ("", "Expected the address of a Dask scheduler in HAR_DASK_SCHEDULER"),
    ],
)
def test_a_scheduler_that_does_not_answer(clips, dask, monkeypatch, address, said):
    pytest.importorskip("distributed")
    monkeypatch.setattr(workers, "ANSWER_SECONDS", 2)
    dask(address)
    with pytest.raises(UserError, match=said):
        extraction.extract(VIDEOS, SHAPE, OUTPUT)


def test_dask_is_not_installed(clips, dask, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    dask("tcp://127.0.0.1:1")
    with pytest.raises(UserError, match=r"pip install 'har\[cluster\]'"):
        extraction.extract(VIDEOS, SHAPE, OUTPUT)


def test_an_unknown_backend_lists_the_valid_ones(clips, monkeypatch):
    monkeypatch.setenv("HAR_JOBLIB_BACKEND", "lokey")
    with pytest.raises(UserError, match=r"loky, dask, .* Received: lokey"):
        extraction.extract(VIDEOS, SHAPE, OUTPUT)


@pytest.mark.parametrize("name", ["threading", "sequential"])
def test_other_backends_give_the_same_bytes(clips, monkeypatch, name):
    expected = extraction.extract(VIDEOS, SHAPE, OUTPUT, n_jobs=1)
    pixels = OUTPUT.read_bytes()
    shutil.rmtree(".work")
    monkeypatch.setenv("HAR_JOBLIB_BACKEND", name)
    assert extraction.extract(VIDEOS, SHAPE, OUTPUT) == expected
    assert OUTPUT.read_bytes() == pixels
