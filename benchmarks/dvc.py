"""How long DVC takes to see that there is nothing to do.

Command: python benchmarks/dvc.py [--clips 6681]
It clones the project into a temporary folder, fills it with outputs of the size that the data set
gives them (UCF50's by default; bytes without meaning), has DVC take them into its cache, and times
`dvc status` and `dvc repro`. The limit is DVC's own start, `dvc --version`.
Cost: the size of the frames on the disk (1.6 GB), removed at the end, and a minute.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

FRAME_BYTES = 20 * 64 * 64 * 3  # of a clip
OUTPUTS = ("outs", "metrics", "plots")
REPEATS = 3


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=6681)
    clips = parser.parse_args().clips
    with tempfile.TemporaryDirectory() as folder:
        root, project = Path(__file__).parents[1], Path(folder) / "project"
        subprocess.run(["git", "clone", "-q", str(root), str(project)], check=True)  # noqa: S603, S607
        fill(project, clips)
        dvc(project, "commit", "--force", "--quiet")
        if "up to date" not in dvc(project, "status"):
            sys.exit("`dvc status` is not clean in the clone.")
        print(f"{clips:,} clips, frames of {clips * FRAME_BYTES / 1e9:.2f} GB, best of {REPEATS}")
        print(f"{'':28}{'seconds':>9}{'of CPU':>9}")
        for name in ("--version", "status", "repro"):
            runs = [timed(project, name) for _ in range(REPEATS)]
            wall, cpu = map(min, zip(*runs, strict=True))
            print(f"{'dvc ' + name:28}{wall:9.2f}{cpu:9.2f}")


def fill(project: Path, clips: int) -> None:
    """Write every output of the pipeline."""
    stages = yaml.safe_load((project / "dvc.yaml").read_text(encoding="utf-8"))["stages"].values()
    outs = [out for stage in stages for kind in OUTPUTS for out in stage.get(kind, [])]
    for name in (out if isinstance(out, str) else next(iter(out)) for out in outs):
        written = {"": name.encode()}
        if name == "data/fetched":
            written = {f"Class{i % 50}/v_{i}.avi": b"%d" % i for i in range(clips)}
        elif name.startswith("models/"):
            written = {part: part.encode() for part in ("model.keras", "history.csv", "card.json")}
        for part, content in written.items():
            path = project / name / part
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.write(content)
                if name == "data/frames.h5":
                    file.writelines(os.urandom(FRAME_BYTES) for _ in range(clips))


def timed(project: Path, command: str) -> tuple[float, float]:
    """Return the wall time and the CPU time of a DVC command, in seconds."""
    start, before = time.perf_counter(), os.times()
    dvc(project, command)
    after = os.times()
    wall = time.perf_counter() - start
    return wall, sum(after[2:4]) - sum(before[2:4])  # user and system time of children


def dvc(project: Path, *command: str) -> str:
    """Run DVC and return what it prints."""
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    command = [sys.executable, "-m", "dvc", *command]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, env=environment)  # noqa: S603
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return done.stdout


if __name__ == "__main__":
    main()
