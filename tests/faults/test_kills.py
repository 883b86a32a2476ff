"""Kills at random moments: the next run ends with the same bytes, and every remote is whole."""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from pipeline.conftest import SMALL, Project, film

from .conftest import assert_one_line

OF_THE_SAMPLE = {"dataset.name": "sample", "dataset.classes": ["SitDown", "StandUp"]}
MAIN = "import sys; sys.argv[0] = 'har'; from har.cli import main; main()"


# Each stage's share of a run, by which moments of a kill are drawn; and how often it is killed.
STAGES = {
    "fetch": (0.15, 3),
    "extract": (0.15, 4),
    "split": (0.15, 2),
    "train-convlstm": (0.25, 1),
    "train-lrcn": (0.25, 1),
    "evaluate": (0.25, 1),
}


class Campaign:
    """A finished project, and what its outputs should be."""

    def __init__(self, project: Project) -> None:
        self.project = project
        start = time.monotonic()
        project.dvc("repro")
        self.seconds = time.monotonic() - start
        project.commit("run")
        self.lock = project.lock()

    def seconds_of(self, stage: str) -> float:
        return self.seconds * STAGES[stage][0]

    def forget(self, *stages: str) -> None:
        """Forget that `stages` ever ran."""
        lock = self.project.lock()
        for stage in stages:
            for out in lock["stages"].pop(stage)["outs"]:
                path = self.project.path / out["path"]
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        (self.project.path / "dvc.lock").write_text(json.dumps(lock))
        shutil.rmtree(self.project.path / ".work", ignore_errors=True)
        shutil.rmtree(self.project.path / ".dvc/cache/runs", ignore_errors=True)

    def check(self, *command: str) -> None:
        """Run what is left; the outputs are those of an unbroken run, and nothing else stays."""
        self.project.dvc("repro", *command)
        lock = self.project.lock()["stages"]
        for stage, entry in self.lock["stages"].items():
            for was, now in zip(entry["outs"], lock[stage]["outs"], strict=True):
                assert (was["path"], was["md5"]) == (now["path"], now["md5"])
        places = [self.project.path / name for name in ("data", "models", "metrics")]
        left = [path for place in places for path in place.rglob(".*") if path.name != ".gitignore"]
        assert not left, f"{left} are left over"

    def start(self, *command: str) -> psutil.Popen:
        """Start Python in the project."""
        return start(self.project, *command)


def start(project: Project, *command: str) -> psutil.Popen:
    return psutil.Popen(
        [sys.executable, *command],
        cwd=project.path,
        env=project.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def end(processes: list[psutil.Process], rng: random.Random) -> None:
    """Kill processes, in any order."""
    print(f"{len(processes)} killed", flush=True)
    for process in rng.sample(processes, len(processes)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def family(process: psutil.Process) -> list[psutil.Process]:
    """Return a process and all that it has started, or nothing where it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        if process.status() != psutil.STATUS_ZOMBIE:
            return [process, *process.children(recursive=True)]
    return []


@pytest.fixture(scope="module")
def campaign(tmp_path_factory) -> Campaign:
    project = Project(tmp_path_factory.mktemp("kills"))
    project.replace("har/datasets/sample.py", "GROUPS = 30", "GROUPS = 5")
    project.replace("har/datasets/sample.py", "CLIPS_PER_GROUP = 4", "CLIPS_PER_GROUP = 2")
    project.set(**SMALL | OF_THE_SAMPLE | {"sample": {}, "train.epochs": 12})
    return Campaign(project)


def test_a_killed_stage(campaign, rng, times):
    for _ in range(times(90)):
        (stage,) = rng.choices(list(STAGES), [weight for _, weight in STAGES.values()])
        campaign.forget(stage)
        for _ in range(rng.choice([1, 1, 1, 2])):  # killed twice, now and then
            running = campaign.start("-m", "dvc", "repro", "--single-item", stage)
            time.sleep(rng.uniform(0.2, campaign.seconds_of(stage)))
            end(family(running), rng)
            running.wait()
        campaign.check("--single-item", stage)
    assert "up to date" in campaign.project.dvc("status").stdout


def test_a_killed_run(campaign, rng, times):
    for _ in range(times(10)):
        campaign.forget(*STAGES)
        for _ in range(2):
            running = campaign.start("-m", "dvc", "repro")
            time.sleep(rng.uniform(0.5, campaign.seconds / 2))
            end(family(running), rng)
            running.wait()
        campaign.check()


def test_killed_trials(campaign, rng, times, tmp_path):
    project = campaign.project.copy(tmp_path / "project")
    shutil.copy(project.path / "comparison/pipeline.yaml", project.path / "comparison/dvc.yaml")
    project.set(**{"comparison.approaches": ["lrcn"], "comparison.protocols": ["group"]})
    stage, lock = "comparison/dvc.yaml:trials@lrcn", project.path / "comparison/dvc.lock"
    trials = project.path / "comparison/trials"

    def outputs() -> list:
        return yaml.safe_load(lock.read_text())["stages"]["trials@lrcn"]["outs"]

    begin = time.monotonic()
    project.dvc("repro", stage)
    seconds, expected = time.monotonic() - begin, outputs()
    for _ in range(times(20)):
        lock.unlink()
        shutil.rmtree(trials)
        shutil.rmtree(project.path / ".work")
        for _ in range(rng.choice([1, 1, 2])):
            running = start(project, "-m", "dvc", "repro", stage)
            time.sleep(rng.uniform(0.2, seconds))
            end(family(running), rng)
            running.wait()
        project.dvc("repro", stage)
        assert outputs() == expected
        assert not [path for path in trials.rglob(".*") if path.name != ".gitignore"]


def test_dvc_alone_is_killed(campaign, rng, times):
    """The stage lives on: the next run names it, or it has ended by then."""
    named = 0
    for _ in range(times(25)):
        stage = rng.choice([stage for stage in STAGES if stage != "split"])  # takes no time
        campaign.forget(stage)
        running = campaign.start("-m", "dvc", "repro", "--single-item", stage)
        until = time.monotonic() + campaign.seconds_of(stage)
        while len(orphans := family(running)[1:]) < 1 and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, campaign.seconds_of(stage) / 2))
        orphans = family(running)[1:]
        running.kill()
        running.wait()
        print(f"{stage}: {len(orphans)} live on", flush=True)
        again = campaign.project.dvc("repro", "--single-item", stage, check=False)
        if again.returncode:
            (line,) = [x for x in again.stderr.splitlines() if x.startswith("Error: ")]
            number = int(re.search(r"kill (\d+)", line)[1])
            assert number in [orphan.pid for orphan in orphans], line
            named += 1
            print(line, flush=True)
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, rng.choice([signal.SIGTERM, signal.SIGKILL]))
        psutil.wait_procs(orphans, timeout=120)
        campaign.check("--single-item", stage)
    print(f"{named} orphans were named")


def test_a_worker_is_killed(campaign, rng, times, tmp_path):
    """The system kills a process when memory is short: no clip is lost, or one line says so."""
    project = campaign.project.copy(tmp_path / "project")
    for i in range(40):
        film(project.path / f"videos/Class{i % 2}/v_Class{i % 2}_g{i:02}_c01.avi", i, n_frames=400)
    project.set(**{"dataset.name": "folder", "dataset.classes": []})
    project.dvc("repro", "extract")
    tables = [project.path / "data" / name for name in ("clips.csv", "rejected.csv", "frames.h5")]
    expected = [table.read_bytes() for table in tables]
    codes = []
    for _ in range(times(25)):
        shutil.rmtree(project.path / ".work", ignore_errors=True)
        running = start(project, "stages/extract.py")
        victims: list[psutil.Process] = []
        while running.poll() is None and not victims:
            victims = workers(running)
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 1))
        end(rng.sample(workers(running), min(rng.choice([1, 1, 2]), len(workers(running)))), rng)
        codes.append(code := running.wait())
        done = project.python("stages/extract.py")
        assert_one_line(code, done.stderr)
        assert [table.read_bytes() for table in tables] == expected
    print(f"exit codes {sorted(codes)}")


def workers(process: psutil.Process) -> list[psutil.Process]:
    """Return the processes that a fork server has made."""
    found = []
    for other in family(process):
        with contextlib.suppress(psutil.Error):
            if "forkserver" in " ".join(other.parent().cmdline()):
                found.append(other)
    return found


@pytest.mark.parametrize("command", ["push", "pull"])
def test_a_killed_push_or_pull(campaign, rng, times, tmp_path, command):
    origin = campaign.project.copy(tmp_path / "origin")
    origin.dvc("remote", "add", "--default", "storage", "../storage")
    origin.commit("storage")
    storage = tmp_path / "storage"
    began = time.monotonic()
    origin.har("push")
    seconds = time.monotonic() - began
    files = in_folder(storage)
    assert len(files) > 30
    for i in range(times(25)):
        project = origin
        if command == "push":
            shutil.rmtree(storage)
        else:
            project = origin.clone(tmp_path / f"clone{i}")
        running = start(project, *rng.choice([("-c", MAIN, command), ("-m", "dvc", command)]))
        time.sleep(rng.uniform(0.2, 0.7 * seconds))  # most hit a living process
        end(family(running), rng)
        running.wait()
        project.har(command)
        if command == "push":
            assert in_folder(storage) == files
        else:
            assert "up to date" in project.dvc("status").stdout
            for name in ("data/frames.h5", "models/lrcn/model.keras"):
                assert (project.path / name).read_bytes() == (origin.path / name).read_bytes()
            shutil.rmtree(project.path)


def in_folder(storage: Path) -> dict[str, int]:
    """Return the objects of a remote that is a folder, with their sizes."""
    files = storage / "files/md5"
    return {path.name: path.stat().st_size for path in files.glob("??/*") if path.is_file()}
