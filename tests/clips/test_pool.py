"""Dying, hanging and remote workers, with real processes.

A `sitecustomize.py` on the workers' path spoils `video.read_spans` for some files, by name.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from har.clips import extraction, pool, store

VIDEOS = Path("data/fetched")
OUTPUT = Path("data/frames.h5")
SHAPE = (4, 16, 32)
PROJECT = Path(extraction.__file__).parents[2]
SPOIL = """
import os, signal, time
from pathlib import Path
import wrapt

def spoil(video):
    read_spans = video.read_spans
    def spoilt(path, *arguments):
        if "segfault" in path.name:
            os.kill(os.getpid(), signal.SIGSEGV)
        for name in ("SIGKILL", "SIGTERM"):
            mark = Path(f"{name}-{path.stem}").absolute()
            if name in path.name and ("always" in path.name or not mark.exists()):
                mark.touch()
                os.kill(os.getpid(), signal.Signals[name])
        if "hang" in path.name:
            time.sleep(600)
        return read_spans(path, *arguments)
    video.read_spans = spoilt

wrapt.register_post_import_hook(spoil, "har.clips.video")
"""
DRIVER = """
import json
from pathlib import Path
from har import errors, files
from har.clips import extraction, pool, store

def main():
    pool.SECONDS = float({seconds})
    clips, rejected = extraction.extract(Path("data/fetched"), (4, 16, 32), Path("data/frames.h5"))
    store.write_clips(Path("data/clips.csv"), clips)
    Path("rejected.json").write_text(json.dumps(rejected))

if __name__ == "__main__":
    errors.run(main)
"""


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


@pytest.fixture
def spoil(tmp_path):
    """Have workers spoil the files that `spoil(name)` copies from a good clip."""
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(SPOIL)

    def add(source: str, *names: str) -> None:
        for name in names:
            shutil.copy(VIDEOS / source, VIDEOS / f"Run/{name}.avi")
            with (VIDEOS / f"Run/{name}.avi").open("ab") as file:
                file.write(name.encode())

    return add


def run_spoilt(folder: Path, seconds: float) -> list[list[str]]:
    process = start(DRIVER.format(seconds=seconds), folder, folder / "hook")
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    return json.loads(Path("rejected.json").read_text())


@pytest.mark.parametrize(
    ("spoilt", "seconds", "reasons"),
    [
        (["segfault"], 100, ["the decoder crashed (SIGSEGV)"]),
        (["hang"], 3, ["the decoder hangs: no end after 3 s"]),
        (
            ["hang", "segfault"],
            3,
            ["the decoder hangs: no end after 3 s", "the decoder crashed (SIGSEGV)"],
        ),
    ],
)
def test_a_file_that_kills_or_hangs_its_worker_costs_itself_alone(
    clips, spoil, tmp_path, spoilt, seconds, reasons
):
    expected, _ = extraction.extract(VIDEOS, SHAPE, OUTPUT, n_jobs=1)
    pixels = OUTPUT.read_bytes()
    shutil.rmtree(".work")
    OUTPUT.unlink()
    spoil(clips[7], *spoilt)
    assert run_spoilt(tmp_path, seconds) == [
        [f"Run/{n}.avi", "Run", reason] for n, reason in zip(spoilt, reasons, strict=True)
    ]
    assert OUTPUT.read_bytes() == pixels
    assert len(Path("data/clips.csv").read_text().splitlines()) == 1 + len(expected)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_a_file_whose_worker_was_killed_from_outside_is_kept(clips, spoil, tmp_path, name):
    spoil(clips[7], name)
    assert run_spoilt(tmp_path, 100) == []
    assert store.read_clips(Path("data/clips.csv"))[-1].clip == max(*clips, f"Run/{name}.avi")
    assert Path(f"{name}-{name}").exists()


def test_a_worker_that_is_killed_again_ends_the_run_and_rejects_nothing(clips, spoil, tmp_path):
    spoil(clips[7], "SIGKILL-always")
    process = start(DRIVER.format(seconds=100), tmp_path, tmp_path / "hook")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 2, said
    assert "The process that decodes Run/SIGKILL-always.avi was killed twice" in said
    assert "Traceback" not in said
    assert not OUTPUT.exists()
    (VIDEOS / "Run/SIGKILL-always.avi").unlink()
    assert run_spoilt(tmp_path, 100) == []


@pytest.mark.slow
def test_800_files_with_crashes_a_kill_and_a_hang(clips, spoil, tmp_path):
    for i in range(800 - len(clips)):
        shutil.copy(VIDEOS / clips[i % 30], VIDEOS / f"Jump/v_Jump_g{i % 25}_c{1000 + i}.avi")
    expected, _ = extraction.extract(VIDEOS, SHAPE, OUTPUT, n_jobs=1)
    pixels = OUTPUT.read_bytes()
    shutil.rmtree(".work")
    OUTPUT.unlink()
    spoil(clips[3], "segfault1", "segfault2", "hang", "SIGKILL")
    assert run_spoilt(tmp_path, 5) == [
        ["Run/hang.avi", "Run", "the decoder hangs: no end after 5 s"],
        ["Run/segfault1.avi", "Run", "the decoder crashed (SIGSEGV)"],
        ["Run/segfault2.avi", "Run", "the decoder crashed (SIGSEGV)"],
    ]
    (VIDEOS / "Run/SIGKILL.avi").unlink()
    kept = store.read_clips(Path("data/clips.csv"))
    assert [clip for clip in kept if clip.clip != "Run/SIGKILL.avi"] == expected
    assert len(kept) == 801
    for name in ("segfault1", "segfault2", "hang"):
        (VIDEOS / f"Run/{name}.avi").unlink()
    assert run_spoilt(tmp_path, 100) == []
    assert OUTPUT.read_bytes() == pixels


def jobs(clips: list[str], folder: Path) -> dict[str, pool.Job]:
    offsets = store.create(folder / "part.h5", clips, ["A"] * len(clips), SHAPE)
    return {
        name: pool.Job(VIDEOS.absolute() / name, [(0.0, None)], SHAPE, folder / "part.h5", [offset])
        for name, offset in zip(clips, offsets, strict=True)
    }


def workers() -> list[psutil.Process]:
    """Processes that decode; the fork server and multiprocessing's tracker stay."""
    ours = psutil.Process().children(recursive=True)
    alive = [child for child in ours if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in alive if child.parent().pid != os.getpid()]


@pytest.mark.parametrize("n", [2, 3])
def test_every_job_is_answered_and_no_process_stays(clips, tmp_path, n):
    with pool.decoder(n_jobs=n, n_files=30) as decode:
        for turn in (clips, clips[:3], []):
            results = dict(decode(jobs(turn, tmp_path)) if turn else ())
            assert sorted(results) == turn
            for i, name in enumerate(turn):
                [(facts, _)] = results[name]
                assert facts.n_frames == 40, (i, name)
    assert workers() == []


def test_leaving_in_the_middle_leaves_no_process(clips, tmp_path):
    with pool.decoder(n_jobs=2, n_files=30) as decode:
        next(decode(jobs(clips, tmp_path)))
    assert workers() == []


def test_what_a_worker_raises_comes_out_and_leaves_no_process(clips, tmp_path):
    some = jobs(clips, tmp_path)
    (tmp_path / "part.h5").unlink()
    with (
        pytest.raises(FileNotFoundError, match=r"part\.h5"),
        pool.decoder(n_jobs=2, n_files=30) as decode,
    ):
        list(decode(some))
    assert workers() == []


def test_workers_that_cannot_start_end_the_run_with_one_line(clips, tmp_path):
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(
        "import os, sys\nif any('forkserver' in a for a in sys.orig_argv): "
        "import pebble.pool.process as p; p.worker_process = lambda *_: os._exit(1)"
    )
    process = start(DRIVER.format(seconds=100), tmp_path, hook)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 2, said
    assert "Worker processes end before they decode anything" in said


def test_workers_killed_while_they_wait_are_replaced(clips, tmp_path):
    with pool.decoder(n_jobs=2, n_files=30) as decode:
        some = jobs(clips, tmp_path)
        while len(workers()) < 2:
            time.sleep(0.05)
        for process in workers():
            process.kill()
        time.sleep(0.5)
        assert sorted(dict(decode(some))) == clips
    assert workers() == []


def test_workers_load_neither_keras_nor_the_script_that_starts_them(clips, tmp_path):
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(
        "import wrapt, sys\n"
        "def note(video):\n"
        "    read_spans = video.read_spans\n"
        "    def noted(path, *arguments):\n"
        "        with open('loaded', 'a') as file: file.write(' '.join(sys.modules) + chr(10))\n"
        "        return read_spans(path, *arguments)\n"
        "    video.read_spans = noted\n"
        "wrapt.register_post_import_hook(note, 'har.clips.video')\n"
    )
    code = DRIVER.format(seconds=100)
    (tmp_path / "script.py").write_text(code)
    code = "import runpy; runpy.run_path('script.py', run_name='__main__')"
    _, said = start(code, tmp_path, hook).communicate(timeout=120)
    loaded = (tmp_path / "loaded").read_text().splitlines()
    assert len(loaded) == 30, said
    for line in loaded:
        assert not {"keras", "tensorflow", "h5py", "har.clips.extraction"} & set(line.split())
