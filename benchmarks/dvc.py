"""How long DVC takes to see that there is nothing to do.

Command: python benchmarks/dvc.py [--clips 6681] [--json PATH]
It makes a clone of the project in a temporary folder, with outputs of the size that the data set
gives them (UCF50's by default: 6,681 clips, frames of 1.64 GB; bytes without meaning, tiny clips),
has DVC take them into its cache, and times `dvc status` and `dvc repro`. The limit is
DVC's own start, `dvc --version`.
Cost: the size of the frames on the disk, removed at the end, and a minute.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
FRAME_BYTES = 20 * 64 * 64 * 3  # of a clip
REPEATS = 3


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=6681)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(project)], check=True)  # noqa: S603, S607
        fill(project, options.clips)
        dvc(project, "commit", "--force", "--quiet")
        if "up to date" not in dvc(project, "status"):
            sys.exit("The clone is not as it should be: `dvc status` is not clean.")
        measured = {
            "version": best(project, "--version"),
            "status": best(project, "status"),
            "repro": best(project, "repro"),
        }
        size = (project / "data/frames.h5").stat().st_size
    print(f"{options.clips:,} clips, frames of {size / 1e9:.2f} GB, best of {REPEATS}")
    print(f"{'':28}{'seconds':>9}{'of CPU':>9}")
    names = ("dvc --version (the limit)", "dvc status", "dvc repro, nothing to do")
    for name, (wall, cpu) in zip(names, measured.values(), strict=True):
        print(f"{name:28}{wall:9.2f}{cpu:9.2f}")
    if options.json:
        figures = {f"{name}_s": round(wall, 3) for name, (wall, _) in measured.items()}
        figures |= {f"{name}_cpu_s": round(cpu, 3) for name, (_, cpu) in measured.items()}
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def fill(project: Path, clips: int) -> None:
    """Write every output of the pipeline."""
    pipeline = yaml.safe_load((project / "dvc.yaml").read_text(encoding="utf-8"))
    for stage in pipeline["stages"].values():
        for kind in ("outs", "metrics", "plots"):
            for out in stage.get(kind, []):
                name = out if isinstance(out, str) else next(iter(out))
                path = project / name
                path.parent.mkdir(parents=True, exist_ok=True)
                if name == "data/videos":
                    for i in range(clips):
                        clip = path / f"Class{i % 50}" / f"v_Class{i % 50}_{i}.avi"
                        clip.parent.mkdir(parents=True, exist_ok=True)
                        clip.write_text(str(i))
                elif name == "data/frames.h5":
                    with path.open("wb") as file:
                        for _ in range(clips):
                            file.write(os.urandom(4096) * (FRAME_BYTES // 4096))
                elif name.startswith("models/"):
                    path.mkdir()
                    for part in ("model.keras", "history.csv", "card.json"):
                        (path / part).write_text(f"{name} {part}")
                else:
                    path.write_text(name)


def best(project: Path, *command: str) -> tuple[float, float]:
    """Return the shortest wall time and the least CPU time of some runs, in seconds.

    On a machine that does other things too the CPU time is the one to believe.
    """
    walls, cpus = [], []
    for _ in range(REPEATS):
        start, before = time.perf_counter(), os.times()
        dvc(project, *command)
        after = os.times()
        walls.append(time.perf_counter() - start)
        cpus.append(
            after.children_user
            + after.children_system
            - before.children_user
            - before.children_system
        )
    return min(walls), min(cpus)


def dvc(project: Path, *command: str) -> str:
    """Run DVC and return what it prints."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "dvc", *command],
        cwd=project,
        capture_output=True,
        text=True,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return done.stdout


if __name__ == "__main__":
    main()
