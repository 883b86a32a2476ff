"""Full disks at every stage; users without rights or a home; places that are read-only."""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import assert_one_line

STAGES = {
    "fetch": ("stages/fetch.py", ["data/fetched", "data/official.csv"]),
    "extract": ("stages/extract.py", ["data/frames.h5", "data/clips.csv", "data/rejected.csv"]),
    "split": ("stages/split.py", ["data/split.csv"]),
    "train-lrcn": ("stages/train.py lrcn", ["models/lrcn"]),
    "evaluate": ("stages/evaluate.py", ["metrics/metrics.json", "metrics/lrcn"]),
}


def content(path: Path) -> dict[str, bytes]:
    """Return the files of a folder, or a file, by name."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    files = [file for file in files if file.exists() and file.name != ".gitignore"]  # DVC's
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in files}


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def check_healed(project, words, outputs, expected, done) -> None:
    assert_one_line(done.returncode, done.stderr)
    if done.returncode:
        for output in outputs:  # nothing half-written is taken for whole
            there = content(project.path / output)
            for name, data in there.items():
                assert data == expected[output].get(name), f"{output}/{name} is half-written"
    project.python(*words)
    for output in outputs:
        assert content(project.path / output) == expected[output], output


@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk(finished, tmp_path, rng, times, stage):
    """A tmpfs that has a few bytes left; without the right to mount one, a limit of file sizes."""
    command, outputs = STAGES[stage]
    words = command.split()
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=80m", "none", str(place)]
    mounted = shutil.which("mount") and not subprocess.run(mount, capture_output=True).returncode
    try:
        project = finished.copy(place / "project")
        sample = {"dataset.name": "sample", "dataset.classes": ["SitDown"]}
        if stage == "fetch":  # renders, and a library writes
            project.set(**sample)
            project.replace("har/datasets/sample.py", "GROUPS = 30", "GROUPS = 2")
            remove(project.path / "data/fetched")
        shutil.rmtree(project.path / ".work", ignore_errors=True)
        project.python(*words)
        expected = {output: content(project.path / output) for output in outputs}
        for _ in range(times(12)):
            for output in outputs:
                remove(project.path / output)
            shutil.rmtree(project.path / ".work", ignore_errors=True)
            left = int(rng.choice([0, 1, 3, 10, 40, 150, 600]) * 1000 * rng.uniform(0.7, 1.4))
            if mounted:
                filler = place / "filler"
                free = shutil.disk_usage(place).free
                filler.write_bytes(bytes(max(free - left, 0)))
                done = project.python(*words, check=False)
                filler.unlink()
            else:
                limited = (
                    "import resource, runpy, sys; "
                    f"resource.setrlimit(resource.RLIMIT_FSIZE, ({left}, {left})); "
                    f"sys.path.insert(0, '.'); sys.argv = {words}; "
                    "runpy.run_path(sys.argv[0], run_name='__main__')"
                )
                done = project.python("-c", limited, check=False)
            check_healed(project, words, outputs, expected, done)
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(place)], check=True)


NOBODY = 65534
DROP, CAPABILITIES = 24, (1, 2, 3)  # PR_CAPBSET_DROP; DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER


def without_rights() -> None:
    """Take from root what lets it ignore permissions: it is then an owner of files like others."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None)
        for capability in CAPABILITIES:
            libc.prctl(DROP, capability, 0, 0, 0)


def run_as_user(project, command: str, environment: dict[str, str | None]):
    """Run a stage or `har` without root's rights, with other variables (None: unset)."""
    words = command.split()
    if not words[0].startswith("stages/"):
        words = ["-c", "import sys; sys.argv[0] = 'har'; from har.cli import main; main()", *words]
    env = {**project.env, **environment}
    return subprocess.run(
        [sys.executable, *words],
        cwd=project.path,
        env={name: value for name, value in env.items() if value is not None},
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=without_rights,
    )


COMMANDS = [
    *("results", "preview", "predict {clip}", "predict {clip} --csv out/x.csv", "pull", "push"),
    *("report --base HEAD", "report --base HEAD --folder out", "teach videos", "resolve"),
    *(command for command, _ in STAGES.values()),
]


def belongs_to_another(path: Path) -> None:
    subprocess.run(["chmod", "-R", "a+rX", str(path)], check=True)
    for inner in (path, *path.rglob("*")):
        os.chown(inner, NOBODY, NOBODY, follow_symlinks=False)


PLACES = {
    "all is read-only": lambda path: subprocess.run(["chmod", "-R", "a-w", str(path)], check=True),
    "a folder of work that is closed": lambda path: (path / ".work").mkdir(mode=0),
    "models cannot be read": lambda path: (path / "models").chmod(0),
    "data cannot be read": lambda path: (path / "data").chmod(0),
    "params.yaml cannot be read": lambda path: (path / "params.yaml").chmod(0),
    "a card cannot be read": lambda path: (path / "models/lrcn/card.json").chmod(0),
    "metrics is read-only": lambda path: (path / "metrics").chmod(0o555),
    "the cache is closed": lambda path: (path / ".dvc/cache").chmod(0),
    "nothing is wrong": lambda path: None,
}
if os.geteuid() == 0:
    PLACES["all is another's"] = belongs_to_another
HOMES = {
    "as usual": {},
    "none": {"HOME": None},
    "one that is not there": {"HOME": "/nonexistent/home"},
    "one that is read-only": {"HOME": "/proc", "XDG_CACHE_HOME": None},
}


def test_users_and_places(finished, tmp_path, rng, times):
    outcomes: dict[str, int] = {}
    for i in range(times(80)):
        project = finished.copy(tmp_path / f"project{i}")
        shutil.rmtree(project.path / ".work", ignore_errors=True)
        clip = next((project.path / "data/fetched").rglob("*.avi"))
        command = rng.choice(COMMANDS).format(clip=clip)
        place, home = rng.choice(list(PLACES)), rng.choice(list(HOMES))
        PLACES[place](project.path)
        done = run_as_user(project, command, HOMES[home])
        try:
            assert_one_line(done.returncode, done.stderr)
        except AssertionError as error:
            raise AssertionError(f"{command}: {place}, home {home}") from error
        last = (done.stderr.splitlines() or [""])[-1] if done.returncode else "works"
        outcomes[last] = outcomes.get(last, 0) + 1
        print(f"{command[:30]}: {place}, home {home}: {last}", flush=True)
        subprocess.run(["chmod", "-R", "u+rwX", str(project.path)], check=True)
        shutil.rmtree(project.path)
