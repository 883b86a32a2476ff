"""Merge dvc.lock by stage after a merge in conflict.

Git merges by lines. Two people who change different models each have a good entry for their own
training stage; only what both have run has to run again on the merged project.
"""

from pathlib import Path
from typing import Any

import yaml

from har import files
from har.errors import UserError
from har.sharing.commands import dvc, git

Lock = dict[str, Any]


def merge(base: Lock, ours: Lock, theirs: Lock) -> tuple[Lock, list[str]]:
    """Merge three dvc.lock files by stage; `base` is `{}` where there was none.

    The result leaves out the stages that both sides changed; their names come with it.
    """
    sides = [side.get("stages", {}) for side in (base, ours, theirs)]
    stages, again = {}, []
    for name in {**sides[1], **sides[2], **sides[0]}:
        old, our, their = (side.get(name) for side in sides)
        if our != their and old not in (our, their):
            again.append(name)
        elif entry := their if our == old else our:
            stages[name] = entry
    return {**base, **theirs, **ours, "stages": stages}, again


def resolve() -> list[str]:
    """Merge every dvc.lock in conflict, take one side of its outputs, and stage both in Git.

    Returns the stages that have to run again.
    """
    unmerged = _unmerged()
    if not unmerged:
        raise UserError(
            "No merge is in conflict. If dvc.lock holds conflict marks, restore the conflict with "
            "`git checkout --merge dvc.lock`."
        )
    locks = {
        name: [
            yaml.safe_load(git("show", f":{side}:./{name}")) if side in sides else {}
            for side in "123"  # Git's numbers of the base, ours and theirs
        ]
        for name, sides in unmerged.items()
        if Path(name).name == "dvc.lock"
    }
    outputs = {
        out["path"]
        for lock in locks.values()
        for side in lock
        for stage in side.get("stages", {}).values()
        for out in stage.get("outs", [])
    }
    if others := [name for name in unmerged if name not in locks and name not in outputs]:
        raise UserError(
            f"{', '.join(others)} is in conflict too. Choose there what you want, `git add` it, "
            "and run `make resolve` again."
        )
    for name in unmerged.keys() - locks:  # outputs in Git: their stage writes them again
        git("checkout", "--ours" if "2" in unmerged[name] else "--theirs", "--", name)
        git("add", "--", name)
    again = []
    for name, sides in locks.items():
        merged, both = merge(*sides)
        files.write_text(Path(name), yaml.safe_dump(merged, sort_keys=False))
        git("add", "--", name)
        again += both
    return again


def rerun(pull: bool) -> None:
    """Run what is left, with `pull` from the storage; stage dvc.lock and what Git keeps."""
    dvc("repro", *(["--pull"] if pull else []), capture=False)
    git("add", "--update", "--", "dvc.lock", "metrics")


def _unmerged() -> dict[str, str]:  # by file in conflict the sides of "123" that Git's index has
    found: dict[str, str] = {}
    for line in git("ls-files", "--unmerged", "-z").split("\0"):
        if line:
            fields, name = line.split("\t", 1)
            found[name] = found.get(name, "") + fields.split()[2]
    return found
