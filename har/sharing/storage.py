"""Push and pull the results of a commit with DVC, so that a push is whole.

A killed DVC command leaves half an index, which DVC later takes for the whole; so the index is
dropped first. For DVC a listing of a folder on the storage stands for all its files; so after a
push the storage is asked for every single file.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo

from har import params
from har.errors import UserError
from har.sharing.commands import dvc, in_their_words

VIDEOS = "data/fetched"
DOWNLOADED = ("ucf50", "ucf101")  # data sets whose clips `dvc repro fetch` downloads


def push(clips: bool = False) -> str:
    """Send every output of this commit, with `clips` the downloaded ones too; return a report."""
    targets = _prepare(clips)
    for attempt in range(2):
        dvc("push", *targets, capture=False)
        # Asks the storage for every file.
        listed = dvc("data", "status", "--not-in-remote", "--granular", "--json")
        absent = json.loads(listed).get("not_in_remote", [])
        absent = [name for name in absent if not targets or not name.startswith(VIDEOS)]
        if not absent:
            return "Every output of this commit is on the storage."
        if attempt == 0:
            _remove_listings(absent)
    raise UserError(
        f"{absent[0]} is neither here nor on the storage ({len(absent)} such files). "
        "Run `make repro`, then `make push` again."
    )


def pull(force: bool = False) -> str:
    """Bring every output of this commit, with `force` over changed ones; return a report."""
    targets = _prepare(clips=False)
    dvc("pull", *(["--force"] if force else []), *targets, capture=False)
    if targets and not Path(VIDEOS).exists():
        return (
            f"All but {VIDEOS} is here; only `extract` needs that. `dvc repro --pull "
            "--allow-missing` goes on without it, `dvc repro fetch` downloads it."
        )
    return "Every output of this commit is here."


def has_remote() -> bool:
    """Return whether the project names a storage."""
    with _opened() as repo:
        return "remote" in repo.config["core"]


def _prepare(clips: bool) -> list[str]:
    """Drop DVC's index; return the targets that are worth storing, none for everything."""
    with _opened() as repo, repo.lock:
        if "remote" not in repo.config["core"]:
            raise UserError(
                "No storage is set. Run `dvc remote add -d storage URL`, then commit .dvc/config."
            )
        remote = repo.cloud.get_remote()
        # DVC would make the folder of a drive that is not connected, and push into it.
        if remote.fs.protocol == "local" and not Path(remote.path).parent.is_dir():
            raise UserError(f"{Path(remote.path).parent} is not there. Connect its drive.")
        outputs = [str(out) for out in repo.index.outs if out.use_cache and out.hash_info]
        if not outputs:
            raise UserError("dvc.lock names no results. Run `make repro` and commit dvc.lock.")
        repo.drop_data_index()
    leave_out = not clips and params.load().dataset.name in DOWNLOADED
    return [name for name in outputs if name != VIDEOS] if leave_out else []


def _remove_listings(absent: list[str]) -> None:
    with _opened() as repo:
        storage = repo.cloud.get_remote_odb()
        for out in repo.index.outs:
            oid = out.hash_info.value
            if any(name.startswith(f"{out}/") for name in absent) and storage.exists(oid):
                storage.delete(oid)


@contextmanager
def _opened() -> Iterator[Repo]:
    try:
        with Repo() as repo:
            yield repo
    except (DvcException, RuntimeError) as error:  # the second: there is no home folder
        raise UserError(in_their_words(f"DVC: {error}")) from None
