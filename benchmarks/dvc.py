"""How long DVC takes to find that nothing has to be done.

Command: python benchmarks/dvc.py [--clips 6681] [--repeats 3] [--json PATH]
It writes outputs of UCF50's size into a clone of the project, commits them to DVC's cache and times
`dvc status` and `dvc repro`. The limit is DVC's own start, `dvc --version`.
Cost: a minute, and 1.6 GB of disk until the end.
"""

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import harness
import yaml

from har.errors import UserError, run

FRAME_BYTES = 20 * 64 * 64 * 3  # of a clip
COMMANDS = ("--version", "status", "repro")


def main() -> None:
    """Measure and print a table."""
    parser = harness.parser(__doc__)
    parser.add_argument("--clips", type=harness.count, default=6681)
    parser.add_argument("--repeats", type=harness.count, default=3, help="the fastest counts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, project = Path(__file__).parents[1], Path(folder) / "project"
        subprocess.run(["git", "clone", "-q", str(root), str(project)], check=True)  # noqa: S603, S607
        _fill(project, options.clips)
        _dvc(project, "commit", "--force", "--quiet")
        if "up to date" not in _dvc(project, "status"):
            raise UserError("`dvc status` is not clean in the clone. Commit dvc.lock first.")
        size = options.clips * FRAME_BYTES / 1e9
        title = f"{options.clips:,} clips, frames of {size:.2f} GB; {harness.machine()}"
        report = harness.Report(title, {"seconds": ".2f", "CPU s": ".2f"})
        calls = {name: functools.partial(_dvc, project, name) for name in COMMANDS}
        ways = {name: functools.partial(harness.timed, call) for name, call in calls.items()}
        best = {}
        for name, runs in harness.turns(ways, options.repeats).items():
            best[name] = [min(values) for values in zip(*runs, strict=True)]
            report.row(f"dvc {name}", *best[name])
        report.ratio("dvc repro, x dvc --version", best["repro"][0] / best["--version"][0])
    report.write(options.json)


def _fill(project: Path, clips: int) -> None:
    stages = yaml.safe_load((project / "dvc.yaml").read_text(encoding="utf-8"))["stages"].values()
    kinds = ("outs", "metrics", "plots")
    outs = [out for stage in stages for kind in kinds for out in stage.get(kind, [])]
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


def _dvc(project: Path, *command: str) -> str:
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    command = [sys.executable, "-m", "dvc", *command]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, env=environment)  # noqa: S603
    if done.returncode:
        raise UserError(f"DVC failed in the clone: {(done.stdout + done.stderr).strip()}")
    return done.stdout


if __name__ == "__main__":
    run(main)
