"""Remote storage through DVC, with failures that say what to do.

DVC moves the files. What it leaves open is closed here: it trusts a write-protected file of its
cache and the remote's copy of a file unless told otherwise, it calls a damaged file missing, and
its words for a lost connection or a wrong key are the storage library's.
"""

import errno
import hashlib
import importlib.util
import json
import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from dvc.config import ConfigError
from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.fs import RemoteMissingDepsError
from dvc.lock import LockError
from dvc.output import Output
from dvc.repo import Repo
from tqdm import tqdm

from har import params
from har.errors import UserError

NAME = "storage"
SCHEMES = {"s3": "dvc_s3", "ssh": "dvc_ssh", "gs": "dvc_gs"}
VIDEOS = "data/videos"
FETCHED = ("ucf50", "ucf101")  # whose clips are brought from their own server, not from ours

_DENIED = (
    "forbidden",
    "denied",
    "credential",
    "unauthorized",
    "invalidaccesskeyid",
    "signaturedoesnotmatch",
    "403",
    "401",
)
_UNREACHABLE = (
    "connect",
    "timed out",
    "timeout",
    "unreachable",
    "reset by peer",
    "broken pipe",
    "name resolution",
    "name or service not known",
    "incomplete",
    "payload",
)


class Objects(NamedTuple):
    """The files behind an output: MD5 of each, and where it belongs in the workspace."""

    output: str
    paths: dict[str, list[Path]]


def set_up(url: str, endpoint: str | None = None) -> str:
    """Make `url` the project's remote storage, in `.dvc/config`.

    What is pulled is verified from then on: a damaged file never enters the cache.

    Args:
        url: `s3://bucket/path`, `ssh://user@host/path`, `gs://bucket/path` or a folder.
        endpoint: the address of an S3 server other than Amazon's.

    Returns:
        The URL as kept.

    Raises:
        UserError: the URL is of another kind, holds a password, or needs a package that is
            not installed.
    """
    scheme = urlsplit(url).scheme
    if len(scheme) < 2:  # no scheme, or a drive letter
        folder = Path(url).expanduser().absolute()
        if not url or not folder.parent.is_dir() or folder.is_file():
            raise UserError(
                f"Expected a URL (s3://, ssh://, gs://) or a folder. Received: {url or 'nothing'}. "
                "Run `make remote URL=s3://bucket/path`, say; the folder above a new one must be "
                "there already."
            )
        url = str(folder)
    elif scheme not in SCHEMES:
        raise UserError(
            f"Expected a URL that starts with {'://, '.join(SCHEMES)}://, or a folder. "
            f"Received: {url}. Other kinds of storage are set up with `dvc remote add`."
        )
    elif urlsplit(url).password:
        raise UserError(
            "Expected a URL without a password, since .dvc/config is committed. Received: one "
            "with. Leave it out; docs/remote.md says where credentials go."
        )
    elif importlib.util.find_spec(SCHEMES[scheme]) is None:
        raise UserError(
            f"Expected DVC's support for {scheme}://. Received: it is not installed. "
            f"Run `python -m pip install -e '.[{scheme}]'`."
        )
    with opened() as repo, repo.config.edit("repo") as config:
        settings = {"url": url, "verify": True}
        if endpoint:
            settings["endpointurl"] = endpoint
        config["remote"][NAME] = settings
        config["core"]["remote"] = NAME
    return url


def pull(jobs: int | None = None, force: bool = False) -> str:
    """Bring every output of the commit that is checked out; replace damaged files of the cache.

    Args:
        jobs: files at a time; `None` is DVC's choice.
        force: replace outputs that were changed by hand.

    Returns:
        What was done, to be printed.

    Raises:
        UserError: there is no remote, it cannot be reached, it lacks an output, its copy is
            damaged, or an output in the workspace was changed.
    """
    with opened() as repo:
        url = _url(repo)
        _check_run(repo)
        _check_folder(repo, writing=False)
        discarded = _discard(repo, _damaged(repo))
        with _explained(url, "pull"):
            done = repo.pull(jobs=jobs, force=force, allow_missing=True)
            status = repo.status(targets=_pipelines(repo))
            absent = {
                str(out): objects
                for out, objects in zip(_outputs(repo), _all_objects(repo), strict=True)
                if not out.exists or _lacking(repo, objects)
            }
            kept = _videos_stay_out() and absent.pop(VIDEOS, None)
            storage = repo.cloud.get_remote_odb()
            damaged = [
                name
                for name, objects in absent.items()
                if set(storage.oids_exist(_lacking(repo, objects)))
            ]
        if damaged:
            raise UserError(
                f"Expected {', '.join(damaged)} on {url} with the bytes that dvc.lock names. "
                "Received: other bytes, which were thrown away. On a machine that has the right "
                f"ones run `har push --renew {' '.join(damaged)}`, then `make pull` here again; "
                "or compute them with `make repro`."
            )
        if absent:
            raise UserError(
                f"Expected every output of this commit on {url}. Received: all but "
                f"{_named(absent)}. Ask whoever committed dvc.lock to run `make push`, then "
                "`make pull` again; or compute the rest with `make repro`."
            )
    lines = [f"Pulled {_files(done['stats']['fetched'])} from {url}."]
    if discarded:
        lines.insert(0, f"Damaged in the cache and pulled anew: {', '.join(discarded)}.")
    if kept:
        lines.append(
            f"{VIDEOS} is not stored there: nothing but `extract` needs it. "
            "`dvc repro --pull --allow-missing` goes on without; `dvc repro fetch` brings it."
        )
    elif status:
        lines.append(f"Changed since the last run: {', '.join(status)}. `dvc status` says how.")
    else:
        lines.append("Nothing is left to run.")
    return "\n".join(lines)


def push(jobs: int | None = None, clips: bool = False, renew: tuple[str, ...] | None = None) -> str:
    """Send every output of the commit that is checked out to the remote.

    Args:
        jobs: files at a time; `None` is DVC's choice.
        clips: send the clips of UCF50 and UCF101 too, which are left out else.
        renew: outputs, or `()` for all, to send again over what the remote holds.

    Returns:
        What was done, to be printed.

    Raises:
        UserError: there is no remote, it cannot be reached, or an output is missing or
            damaged here.
    """
    with opened() as repo:
        url = _url(repo)
        _check_run(repo)
        _check_folder(repo, writing=True)
        outputs = [str(out) for out in _outputs(repo)]
        unknown = [name for name in renew or () if name not in outputs]
        if unknown:
            raise UserError(
                f"Expected outputs of the pipeline ({', '.join(outputs)}). Received: "
                f"{', '.join(unknown)}. Correct the names."
            )
        if _videos_stay_out() and not clips:
            outputs = [name for name in outputs if name != VIDEOS]
        everything = [item for item in _all_objects(repo) if item.output in outputs]
        damaged = _damaged(repo, everything)
        if damaged:
            raise UserError(
                "Expected outputs in the cache with the bytes that dvc.lock names. Received: "
                f"{', '.join(sorted(damaged))} damaged. Run `make pull` where the remote has the "
                "right ones, or remove `.dvc/cache` and the outputs and run `make repro`."
            )
        with _explained(url, "push"):
            storage = repo.cloud.get_remote_odb()
            if renew is not None:
                chosen = [item for item in everything if not renew or item.output in renew]
                sent = _renew(repo, storage, chosen)
            else:
                sent = repo.push(targets=outputs, jobs=jobs)
            lacking = {item.output: _lacking(repo, item) for item in everything}
            lacking = {
                name: oids
                for name, oids in lacking.items()
                if oids and set(oids) - set(storage.oids_exist(oids))
            }
        if lacking:
            raise UserError(
                f"Expected every output of this commit here or on {url}. Received: "
                f"{_named(lacking)} in neither. Run `make repro`, then `make push` again."
            )
    return f"Pushed {_files(sent)} to {url}."


def has_remote() -> bool:
    """Tell whether a remote storage is set up."""
    with opened() as repo:
        return bool(repo.config["core"].get("remote"))


@contextmanager
def opened() -> Iterator[Repo]:
    """Open the DVC repository of the working directory.

    Raises:
        UserError: there is none, or .dvc/config is not valid.
    """
    try:
        repo = Repo()
    except NotDvcRepoError:
        raise UserError(
            f"Expected the project in the working directory. Received: {Path.cwd()}, which is "
            "not in a DVC repository. Run from the root of the project."
        ) from None
    except ConfigError as error:
        raise UserError(
            f"Expected a valid .dvc/config. Received: {' '.join(str(error).split())}. Mend it."
        ) from None
    with repo:
        yield repo


def _url(repo: Repo) -> str:
    name = repo.config["core"].get("remote")
    if not name:
        raise UserError(
            "Expected a remote storage. Received: none is set up. Name one with `make remote "
            "URL=s3://bucket/path` (or ssh://…, gs://…, a folder), or do without: `make repro` "
            "computes everything."
        )
    try:
        return repo.config["remote"][name]["url"]
    except KeyError:
        raise UserError(
            f"Expected the remote {name!r} in .dvc/config, since core.remote names it. Received: "
            "no such remote. Run `make remote URL=…`."
        ) from None


def _check_run(repo: Repo) -> None:
    if not _outputs(repo):
        raise UserError(
            "Expected a dvc.lock that names results. Received: none. Run `make repro` and commit "
            "dvc.lock, or check out a commit that has it."
        )


def _check_folder(repo: Repo, writing: bool) -> None:
    """Notice a drive that is not there, on which DVC would make a new folder or find nothing."""
    remote = repo.cloud.get_remote()
    if remote.fs.protocol != "local":
        return
    folder = Path(remote.path)
    if not (folder.parent if writing else folder).is_dir():
        raise UserError(
            f"Expected the folder {folder}, where results are kept. Received: no such folder. "
            + (
                "Connect its drive, or name another with `make remote URL=…`."
                if writing
                else "Connect its drive, or ask somebody who has results to run `make push`."
            )
        )


def _named(outputs: Iterable[str], most: int = 5) -> str:
    names = list(outputs)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _pipelines(repo: Repo) -> list[str]:
    """Return the pipelines that were run; the comparison need not have been."""
    files = {Path(stage.path) for stage in repo.index.stages}
    return sorted(str(file) for file in files if file.with_name("dvc.lock").exists())


def _outputs(repo: Repo) -> list[Output]:
    return [out for out in repo.index.outs if out.use_cache and out.hash_info]


def _videos_stay_out() -> bool:
    return params.load().dataset.name in FETCHED


def _all_objects(repo: Repo) -> list[Objects]:
    return [_objects(repo, out) for out in _outputs(repo)]


def _objects(repo: Repo, out: Output) -> Objects:
    path = Path(out.fs_path)
    paths = {out.hash_info.value: [path]}
    if out.hash_info.isdir:
        # What cannot be read is damaged or missing itself, and is told as such.
        with suppress(OSError, ValueError, TypeError, KeyError):
            listed = _cached(repo, out.hash_info.value).read_text(encoding="utf-8")
            for entry in json.loads(listed):
                paths.setdefault(entry["md5"], []).append(path / entry["relpath"])
    return Objects(str(out), paths)


def _cached(repo: Repo, oid: str) -> Path:
    return Path(repo.cache.local.oid_to_path(oid))


def _lacking(repo: Repo, objects: Objects) -> list[str]:
    return [oid for oid in objects.paths if not _cached(repo, oid).exists()]


def _damaged(repo: Repo, everything: Iterable[Objects] | None = None) -> dict[str, Objects]:
    """Find files of the cache whose bytes are not those of their name, by output."""
    everything = _all_objects(repo) if everything is None else list(everything)
    todo = [(item, oid) for item in everything for oid in item.paths]
    todo = [(item, oid) for item, oid in todo if _cached(repo, oid).exists()]
    total = sum(_cached(repo, oid).stat().st_size for _, oid in todo)
    bar = tqdm(
        total=total,
        desc="Checking the cache",
        unit="B",
        unit_scale=True,
        delay=1,
        disable=None,
        leave=False,
    )
    found: dict[str, Objects] = {}
    with bar, ThreadPoolExecutor() as pool:
        hashes = pool.map(lambda pair: _md5(_cached(repo, pair[1])), todo)
        for (item, oid), actual in zip(todo, hashes, strict=True):
            bar.update(_cached(repo, oid).stat().st_size)
            if actual != oid.removesuffix(".dir"):
                empty = Objects(item.output, {})
                found.setdefault(item.output, empty).paths[oid] = item.paths[oid]
    return found


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _discard(repo: Repo, damaged: dict[str, Objects]) -> list[str]:
    """Remove damaged files of the cache, and the workspace's links to them."""
    for objects in damaged.values():
        for oid, paths in objects.paths.items():
            cached = _cached(repo, oid)
            for path in paths:
                if path.is_file() and cached.exists() and path.samefile(cached):
                    path.unlink()
            cached.unlink(missing_ok=True)
    return sorted(damaged)


def _renew(repo: Repo, storage: Any, chosen: Iterable[Objects]) -> int:
    oids = sorted({oid for objects in chosen for oid in objects.paths})
    oids = [oid for oid in oids if _cached(repo, oid).exists()]
    for oid in tqdm(oids, desc="Pushing", unit="file", disable=None):
        target = storage.oid_to_path(oid)
        if storage.fs.exists(target):
            storage.fs.remove(target)
        storage.fs.makedirs(storage.fs.parent(target), exist_ok=True)
        storage.fs.put_file(str(_cached(repo, oid)), target)
    return len(oids)


class _Collector(logging.Handler):
    """Keeps the errors that DVC logs instead of raising."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.errors: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1]:
            self.errors.append(record.exc_info[1])


@contextmanager
def _explained(url: str, verb: str) -> Iterator[None]:
    """Turn what DVC and the storage libraries raise or log into a `UserError`."""
    collector = _Collector()
    loggers = [logging.getLogger(name) for name in ("dvc", "dvc_data", "dvc_objects")]
    before = [(logger.handlers, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [collector], False
    try:
        yield
    except (UserError, TypeError, AttributeError, NameError, AssertionError):
        raise  # told already, or a fault of ours
    except LockError:
        raise UserError(
            "Expected to be alone in this project. Received: another DVC command is running in "
            "it. Wait for it to end, then run the same command again."
        ) from None
    except RemoteMissingDepsError as error:
        scheme = urlsplit(url).scheme
        raise UserError(
            f"Expected DVC's support for {url}. Received: {str(error).splitlines()[0]} "
            f"Run `python -m pip install -e '.[{scheme}]'`."
        ) from None
    except Exception as error:
        raise UserError(_explain([*collector.errors, error], url, verb)) from None
    finally:
        for logger, (handlers, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate


def _explain(errors: list[BaseException], url: str, verb: str) -> str:
    chain: list[BaseException] = []
    for error in errors:
        link: BaseException | None = error
        while link is not None and link not in chain:
            chain.append(link)
            link = link.__cause__ or link.__context__
    again = f"run `make {verb}` again: it goes on where it stopped."
    told = next((e for e in chain if not isinstance(e, DvcException)), chain[0])
    received = f"Received: {(str(told).splitlines() or [type(told).__name__])[0].rstrip('.')}."
    for error in chain:
        words = f"{type(error).__name__} {error}".lower()
        if "unsaved files" in words:
            changed = [line for line in str(error).splitlines() if Path(line).is_absolute()]
            return (
                f"Expected outputs as dvc.lock names them. Received: {_named(changed)}, changed by "
                "hand. Keep a copy if you need it, then run `har pull --force`."
            )
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"Expected room on the disk. {received} Free some space and {again}"
        if "bucket" in words and ("not exist" in words or "nosuchbucket" in words):
            return (
                f"Expected the bucket of {url}. {received} Correct it with `make remote URL=…`, "
                f"or create the bucket, then {again}"
            )
        if isinstance(error, PermissionError) or any(word in words for word in _DENIED):
            return (
                f"Expected to be let in to {url}. {received} Correct the credentials "
                f"(docs/remote.md says where they go), then {again}"
            )
        if isinstance(error, ConnectionError | TimeoutError) or any(
            word in words for word in _UNREACHABLE
        ):
            return f"Expected to reach {url} all the time. {received} Check the network and {again}"
    return f"Expected to {verb} {url}. {received} Mend that, then {again}"
