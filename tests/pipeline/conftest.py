"""A small copy of the whole project, run as a user runs it."""

import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parents[2]
SMALL = {
    "dataset.name": "folder",
    "frames.count": 4,
    "frames.height": 16,
    "frames.width": 16,
    "train.frames": 2,
    "train.epochs": 2,
    "train.steps": 0,
    "convlstm.width": 4,
    "convlstm.units": 4,
    "convlstm.weights": None,
    "lrcn.width": 4,
    "lrcn.units": 4,
    "lrcn.weights": None,
    "evaluate.bootstrap": 50,
}


class Project:
    """A copy of the project in a folder of its own, with its own Git and DVC."""

    def __init__(self, path: Path) -> None:
        self.path = path
        files = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=ROOT,
            capture_output=True,
            check=True,
            text=True,
        ).stdout.split("\0")
        for name in filter(None, files):
            # dvc.lock is of the full-size run; tests of the project are not part of a run.
            if (ROOT / name).is_file() and name != "dvc.lock" and not name.startswith("tests/"):
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, path / name)
        self.env = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(path),  # this copy's code, not the installed project's
            "PYTHONDONTWRITEBYTECODE": "1",
            "DVC_NO_ANALYTICS": "1",
        }
        for command in ("git init -q", "git add -A", "git commit -qm start"):
            self.run(*command.split())

    def copy(self, path: Path) -> "Project":
        """Copy the project as it stands, with outputs, cache and history, and links as links."""
        made: dict[int, str] = {}

        def link_or_copy(source: str, target: str) -> str:
            inode = Path(source).stat().st_ino
            if inode in made:
                os.link(made[inode], target)
            else:
                made[inode] = shutil.copy2(source, target)
            return target

        shutil.copytree(self.path, path, symlinks=True, copy_function=link_or_copy)
        return self._moved(path)

    def clone(self, path: Path) -> "Project":
        """Clone the project with Git, as a second machine does: without outputs and cache."""
        self.run("git", "clone", "-q", ".", str(path))
        return self._moved(path)

    def _moved(self, path: Path) -> "Project":
        other = object.__new__(Project)
        other.path, other.env = path, self.env | {"PYTHONPATH": str(path)}
        return other

    def har(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the `har` command of this copy."""
        code = "import sys; sys.argv[0] = 'har'; from har.cli import main; main()"
        return self.python("-c", code, *args, check=check)

    def dvc(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run DVC."""
        return self.python("-m", "dvc", *args, check=check)

    def commit(self, message: str) -> str:
        """Commit everything and return the commit's hash."""
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", message)
        return self.run("git", "rev-parse", "HEAD").stdout.strip()

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the project; show its output where it fails."""
        identity = {
            f"GIT_{who}_{what}": "a@example.org"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        done = subprocess.run(
            command, cwd=self.path, env=self.env | identity, capture_output=True, text=True
        )
        if check and done.returncode:
            pytest.fail(f"{command} exited with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def python(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run Python in the project."""
        return self.run(sys.executable, *args, check=check)

    def repro(self, *options: str) -> list[str]:
        """Run `dvc repro` and return the stages that really ran, in order."""
        output = self.python("-m", "dvc", "repro", *options).stdout
        return re.findall(r"^Running stage '([\w-]+)'", output, re.MULTILINE)

    def set(self, **values: object) -> None:
        """Change params: `set(**{"frames.count": 5})`."""
        file = self.path / "params.yaml"
        params = yaml.safe_load(file.read_text())
        for key, value in values.items():
            *parents, name = key.split(".")
            section = params
            for parent in parents:
                section = section[parent]
            section[name] = value
        file.write_text(yaml.safe_dump(params, sort_keys=False))

    def replace(self, name: str, old: str, new: str) -> None:
        """Edit a file."""
        text = (self.path / name).read_text()
        assert text.count(old) == 1, f"{old!r} is in {name} {text.count(old)} times"
        (self.path / name).write_text(text.replace(old, new))

    def lock(self) -> dict:
        """Return dvc.lock."""
        return yaml.safe_load((self.path / "dvc.lock").read_text())


def processor_seconds() -> float:
    """Return the processor time of the child processes that have ended: other load adds nothing."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def film(path: Path, seed: int, n_frames: int = 8) -> None:
    """Write a small video: noise around a brightness that rises or falls."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (32, 24))
    for i in range(n_frames):
        level = 40 + 20 * (i if seed % 2 else n_frames - i)
        writer.write(rng.integers(level - 20, level + 20, (24, 32, 3)).astype(np.uint8))
    writer.release()


def fill(folder: Path) -> None:
    """Film 2 classes of 5 groups of 2 clips."""
    for label in (0, 1):
        for group in range(1, 6):
            for clip in (1, 2):
                name = f"v_Class{label}_g{group:02}_c{clip:02}.avi"
                film(folder / f"Class{label}" / name, seed=label + 2 * (10 * group + clip))


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """A project that has been run and committed, on branch main; copy it before a change.

    Its clips are in a folder that copies and clones share.
    """
    clips = tmp_path_factory.mktemp("shared") / "clips"
    fill(clips)
    project = Project(tmp_path_factory.mktemp("finished"))
    project.run("git", "branch", "-M", "main")
    project.set(**SMALL | {"dataset.path": str(clips)})
    project.repro()
    project.commit("run")
    return project


@pytest.fixture(scope="session")
def new_project(tmp_path_factory):
    """Make a fresh small project with clips but nothing run."""

    def make() -> Project:
        project = Project(tmp_path_factory.mktemp("project"))
        project.set(**SMALL)
        fill(project.path / "videos")
        return project

    return make
