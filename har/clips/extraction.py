"""A folder of videos to a frame store and a table of clips, on all cores, surviving any kill.

Workers decode clips and write their pixels straight into the store under `.work/`; a journal
beside it names every clip that is done. A run that was killed, and a run after some clips were
added, takes from there what it finds by content (SHA-256) and decodes the rest.

What stays in `.work/extract/` after a run: the store that became the output, whose blocks it
shares where the file system links, and stores of other frames params, the latest used first, as
long as together they stay below `HAR_SCRATCH_GB` (default 4, which holds UCF101 at
20 × 64 × 64). Going back to other params then decodes nothing.
"""

import json
import math
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import joblib
from tqdm import tqdm

from har import files
from har.clips import decoding, store, video, workers
from har.clips.store import Clip
from har.errors import UserError

_GROUP = re.compile(r"_(g\d+)_(c\d+)$")
SECONDS = 300.0
"""After which a file's decoder counts as hanging; two more for each megabyte."""
SCRATCH_GB = 4.0


class Rejected(NamedTuple):
    """A row of rejected.csv: a file that does not decode, and why."""

    clip: str
    label: str
    reason: str


class _Row(NamedTuple):
    """Decoded frames of a clip: where they lie, and the facts of the clip."""

    store: Path
    offset: int
    facts: video.VideoFacts


def group_of(clip: str) -> str:
    """Return the group of a clip by UCF's naming; a clip that tells none is its own group.

    Example:
        >>> group_of("Billiards/v_Billards_g07_c02.avi")
        'g07'
        >>> group_of("Jumping/holiday.mp4")
        'Jumping/holiday.mp4'
    """
    match = _GROUP.search(Path(clip).stem)
    return match[1] if match else clip


def list_videos(folder: Path) -> list[str]:
    """List the files of `folder/Class/…`, as sorted POSIX paths below it.

    Raises:
        UserError: there is none.
    """
    found = (path for path in folder.glob("*/**/*") if path.is_file() or path.is_symlink())
    paths = (path.relative_to(folder) for path in found if not path.is_dir())
    clips = sorted(
        file.as_posix() for file in paths if not any(part.startswith(".") for part in file.parts)
    )
    if not clips:
        raise UserError(
            f"Expected videos as {folder}/Class/clip.ext. Received: none. "
            "Run `dvc repro fetch` to bring them."
        )
    return clips


def extract(
    videos: Path, shape: tuple[int, int, int], output: Path, *, n_jobs: int = -1
) -> tuple[list[Clip], list[Rejected]]:
    """Decode every video below `videos` into the frame store `output`.

    Args:
        videos: folder of `Class/clip.ext`.
        shape: (T, H, W) of the frames to keep of each clip.
        output: the frame store to write; it appears whole or not at all.
        n_jobs: processes; -1 is one a core; 1 is this process, which a decoder that crashes
            then takes with it.

    Returns:
        The clips that decode, in the order of the store, and the files that do not.

    Raises:
        UserError: there is no video, or a class has none that decodes.
    """
    # Workers outlive a call and keep the working directory they were born in.
    videos = videos.absolute()
    names = list_videos(videos)
    bound = scratch_bound()
    # What frames come out depends on this and on the bytes of the file, on nothing else.
    scratch = files.folder("extract", files.digest(list(shape), video, cv2.__version__)).absolute()
    # They get ready while the files are hashed.
    with workers.crew(decoding.decode, scratch, n_jobs=n_jobs, n_files=len(names)) as each:
        with ThreadPoolExecutor(joblib.cpu_count()) as threads:
            hashes = list(threads.map(_sha256, [videos / name for name in names]))
        digests = {name: key for name, key in zip(names, hashes, strict=True) if key}
        reasons = dict.fromkeys((name for name in names if name not in digests), UNREADABLE)
        _check_classes(names, reasons)
        part, rows, bad = _fill(scratch, videos, digests, shape, each, bound)
        reasons |= bad
        _check_classes(names, reasons)
        if bad:
            digests = {name: sha256 for name, sha256 in digests.items() if name not in bad}
            part, rows, _ = _fill(scratch, videos, digests, shape, each, bound)
    _publish(part, output)
    for file in scratch.iterdir():
        if file.stem != part.stem:
            file.unlink()  # all of it that is still in use is in `part`
    _prune(scratch.parent, bound, {part})
    clips = [
        Clip(name, _label(name), group_of(name), digests[name], *row.facts)
        for name, row in rows.items()
    ]
    return clips, [Rejected(name, _label(name), reasons[name]) for name in sorted(reasons)]


UNREADABLE = "cannot be read: a link to nothing, or permission denied"


def _sha256(path: Path) -> str | None:
    try:
        return files.file_sha256(path)
    except (FileNotFoundError, PermissionError):
        return None


def scratch_bound() -> int:
    """Return how many bytes of older stores may stay: `HAR_SCRATCH_GB`, 4 by default.

    Raises:
        UserError: it is no number, or less than 0.
    """
    text = os.environ.get("HAR_SCRATCH_GB") or str(SCRATCH_GB)
    try:
        size = float(text)
    except ValueError:
        size = math.nan
    if not 0 <= size < math.inf:
        raise UserError(
            f"Expected gigabytes, 0 or more, in HAR_SCRATCH_GB. Received: {text}. "
            f"Unset it for {SCRATCH_GB:g}."
        )
    return int(size * 1e9)


def _label(name: str) -> str:
    return name.split("/", 1)[0]


def _fill(
    scratch: Path,
    videos: Path,
    digests: dict[str, str],
    shape: tuple[int, int, int],
    each: workers.Each,
    bound: int,
) -> tuple[Path, dict[str, _Row], dict[str, str]]:
    """Fill a store in `scratch` with the frames of `digests`, going on where a kill stopped it.

    Args:
        scratch: folder of stores and their journals.
        videos: folder of the videos.
        digests: SHA-256 by name, in the order of the rows.
        shape: (T, H, W).
        each: calls `decoding.decode`.
        bound: bytes of other stores that may stay.

    Returns:
        The store, the row of each clip that decodes and the reason for each that does not.
    """
    part = scratch / f"{files.digest(digests)}.h5"
    journal = part.with_suffix(".jsonl")
    # Runs that were killed one after the other, each with other files, leave a store each.
    _prune(scratch.parent, bound, {part, *sorted(scratch.glob("*.h5"), key=_used)[-1:]})
    done = _read_journals(scratch)
    if not (part.exists() and journal.exists()):
        fresh = part.with_suffix(".new")
        offsets = store.create(fresh, list(digests), [_label(name) for name in digests], shape)
        fresh.replace(part)
        files.write_text(journal, json.dumps(offsets) + "\n")
    offsets = json.loads(journal.read_text(encoding="utf-8").split("\n", 1)[0])
    places = dict(zip(digests, offsets, strict=True))

    rows: dict[str, _Row] = {}
    reasons: dict[str, str] = {}
    with journal.open("a", encoding="utf-8") as log:
        log.write("\n")  # ends a line that a kill cut short

        def finished(name: str, facts: video.VideoFacts) -> None:
            rows[name] = _Row(part, places[name], facts)
            log.write(json.dumps([digests[name], places[name], *facts]) + "\n")
            log.flush()

        for name, sha256 in digests.items():
            if found := done.get((sha256, part, places[name])):
                rows[name] = found
            elif found := done.get((sha256,)):
                _copy(found, part, places[name], shape)
                finished(name, found.facts)
        todo = [name for name in digests if name not in rows]
        jobs = {
            name: workers.Job((videos / name, shape, part, places[name]), _patience(videos / name))
            for name in todo
        }
        bar = tqdm(
            each(jobs),
            total=len(digests),
            initial=len(rows),
            desc="Decoding",
            unit="clip",
            disable=None,
        )
        for name, result in bar if todo else ():
            if isinstance(result, video.VideoFacts):
                finished(name, result)
            else:
                reasons[name] = result.reason if isinstance(result, workers.Lost) else result
    return part, {name: rows[name] for name in digests if name in rows}, reasons


def _read_journals(scratch: Path) -> dict[tuple, _Row]:
    """Return the rows that earlier runs decoded, by (SHA-256,) and (SHA-256, store, offset)."""
    done = {}
    for journal in sorted(scratch.glob("*.jsonl")):
        part = journal.with_suffix(".h5")
        for line in journal.read_text(encoding="utf-8").splitlines()[1:] if part.exists() else ():
            try:
                sha256, offset, *facts = json.loads(line)
            except json.JSONDecodeError:
                continue  # a line that a kill cut short
            row = _Row(part, offset, video.VideoFacts(*facts))
            done[(sha256,)] = done[(sha256, part, offset)] = row
    return done


def _patience(path: Path) -> float:
    return SECONDS + 2 * path.stat().st_size / 1e6


def _copy(row: _Row, part: Path, offset: int, shape: tuple[int, int, int]) -> None:
    with row.store.open("rb") as file:
        file.seek(row.offset)
        decoding.write(part, offset, file.read(math.prod(shape) * 3))


def _check_classes(names: Sequence[str], reasons: Mapping[str, str]) -> None:
    """Raise a `UserError` where a class has no clip left."""
    left = {_label(name) for name in names if name not in reasons}
    for name in sorted(reasons):
        if _label(name) not in left:
            raise UserError(
                f"Expected at least one clip of class {_label(name)} that decodes. "
                f"Received: none; {name}: {reasons[name]}. "
                "Replace the files or leave the class out with dataset.classes."
            )


def _publish(part: Path, output: Path) -> None:
    """Make the store the output, and keep it as the next run's scratch at no cost in space."""
    output.parent.mkdir(parents=True, exist_ok=True)
    link = output.with_name(f".{output.name}.part")
    link.unlink(missing_ok=True)
    try:
        os.link(part, link)
    except OSError:
        shutil.copyfile(part, link)
    link.replace(output)


def _prune(root: Path, bound: int, keep: set[Path]) -> None:
    """Remove the stores longest unused, until all but those to keep are within `bound` bytes."""
    size = 0
    for part in sorted(root.glob("*/*.h5"), key=_used, reverse=True):
        if part in keep:
            continue
        size += part.stat().st_size
        if size > bound:
            part.with_suffix(".jsonl").unlink(missing_ok=True)
            part.unlink()
    for folder in root.iterdir():
        if folder not in {part.parent for part in keep} and not any(folder.glob("*.h5")):
            shutil.rmtree(folder)


def _used(part: Path) -> float:
    """Return when a run last used a store: each opens its journal and adds to it."""
    journal = part.with_suffix(".jsonl")
    return journal.stat().st_mtime if journal.exists() else 0.0
