"""Mend dvc.lock after a merge in conflict: each side's stages where only one side ran them.

Git merges dvc.lock by lines and knows nothing of stages. Two people who change different models
each bring a good entry for their own training stage; only what both have run, the evaluation at
least, has to run again on the merged project.
"""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from har import files
from har.errors import UserError

Lock = dict[str, Any]


def merge(base: Lock, ours: Lock, theirs: Lock) -> tuple[Lock, list[str]]:
    """Merge three dvc.lock files by stage.

    Args:
        base: of the common ancestor, `{}` where it had none.
        ours: of this side.
        theirs: of the other side.

    Returns:
        The merged file, without the stages that both sides changed and so have to run again, and
        the names of these.
    """
    sides = [side.get("stages", {}) for side in (base, ours, theirs)]
    stages, again = {}, []
    for name in dict.fromkeys(name for side in (sides[1], sides[2], sides[0]) for name in side):
        old, our, their = (side.get(name) for side in sides)
        if our == their or their == old:
            entry = our
        elif our == old:
            entry = their
        else:
            again.append(name)
            continue
        if entry is not None:
            stages[name] = entry
    return {**base, **theirs, **ours, "stages": stages}, again


def resolve() -> list[str]:
    """Mend every dvc.lock in conflict and the outputs beside it, and stage them in Git.

    Returns:
        The stages that have to run again.

    Raises:
        UserError: no merge is under way, or another file is in conflict too.
    """
    unmerged = _unmerged()
    locks = [name for name in unmerged if Path(name).name == "dvc.lock"]
    if not unmerged:
        raise UserError(
            "Expected a merge in conflict. Received: none is under way. If dvc.lock holds "
            "conflict marks, bring the conflict back with `git checkout --merge dvc.lock`."
        )
    versions = {name: [_version(stage, name, unmerged) for stage in "123"] for name in locks}
    outputs = {
        (Path(name).parent / out["path"]).as_posix()
        for name, sides in versions.items()
        for side in sides
        for entry in side.get("stages", {}).values()
        for out in entry.get("outs", [])
    }
    others = [name for name in unmerged if name not in locks and name not in outputs]
    if others:
        raise UserError(
            f"Expected nothing but dvc.lock and outputs in conflict. Received: {', '.join(others)} "
            "too. Choose there what you want, `git add` it, and run `make resolve` again."
        )
    for name in unmerged:
        if name not in locks:  # the evaluation writes it anew
            side = "--ours" if "2" in unmerged[name] else "--theirs"
            _git("checkout", side, "--", name)
            _git("add", "--", name)
    again = []
    for name, sides in versions.items():
        merged, both = merge(*sides)
        files.write_text(Path(name), yaml.safe_dump(merged, sort_keys=False))
        _git("add", "--", name)
        again += both
    return again


def rerun(pull: bool) -> None:
    """Run what is left of the pipeline and stage dvc.lock and the outputs that Git keeps.

    Args:
        pull: bring outputs that the other side computed from the remote.

    Raises:
        UserError: a stage failed.
    """
    options = ["--pull"] if pull else []
    done = subprocess.run([sys.executable, "-m", "dvc", "repro", *options])  # noqa: S603
    if done.returncode:
        raise UserError(
            "Expected the pipeline to run on the merged project. Received: a stage that failed. "
            "Mend it, run `dvc repro`, then `git add dvc.lock metrics` and `git commit`."
        )
    _git("add", "--update", "--", "dvc.lock", "metrics")


def _unmerged() -> dict[str, str]:
    """Return the stages of Git's index, of 1, 2 and 3, by file in conflict."""
    found: dict[str, str] = {}
    for line in _git("ls-files", "--unmerged", "-z").split("\0"):
        if line:
            fields, name = line.split("\t", 1)
            found[name] = found.get(name, "") + fields.split()[2]
    return found


def _version(stage: str, name: str, unmerged: Mapping[str, str]) -> Lock:
    return yaml.safe_load(_git("show", f":{stage}:{name}")) if stage in unmerged[name] else {}


def _git(*args: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603
            ["git", *args],  # noqa: S607
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"").decode(errors="replace").strip() or str(error)
        raise UserError(
            f"Expected Git to do `git {' '.join(args)}`. Received: {said.splitlines()[0]}. "
            "Run from the root of the project's clone."
        ) from None
    return done.stdout.decode()
