"""A folder of videos to a frame store and a table of clips, on all cores, surviving any kill.

Workers decode clips and write their pixels straight into the store under `.work/`; a journal
beside it names every clip that is done. A run that was killed, and a run after some clips were
added, takes from there what it finds by content (SHA-256) and decodes the rest.
"""

import json
import math
import os
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import joblib
from tqdm import tqdm

from har import store, video, work
from har.errors import UserError
from har.store import Clip

_GROUP = re.compile(r"_(g\d+)_(c\d+)$")


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
    files = (path.relative_to(folder) for path in folder.glob("*/**/*") if path.is_file())
    clips = sorted(
        file.as_posix() for file in files if not any(part.startswith(".") for part in file.parts)
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
        n_jobs: processes; -1 is one a core.

    Returns:
        The clips that decode, in the order of the store, and the files that do not.

    Raises:
        UserError: there is no video, or a class has none that decodes.
    """
    # Workers outlive a call and keep the working directory they were born in.
    videos = videos.absolute()
    names = list_videos(videos)
    hashes = joblib.Parallel(n_jobs=n_jobs, prefer="threads")(
        joblib.delayed(work.file_sha256)(videos / name) for name in names
    )
    # What frames come out depends on this and on the bytes of the file, on nothing else.
    scratch = work.folder("extract", work.digest(list(shape), video, cv2.__version__)).absolute()
    files = dict(zip(names, hashes, strict=True))
    part, rows, reasons = _fill(scratch, videos, files, shape, n_jobs)
    rejected = [Rejected(name, _label(name), reason) for name, reason in sorted(reasons.items())]
    if rejected:
        _check_classes(names, rejected)
        good = {name: sha256 for name, sha256 in files.items() if name not in reasons}
        part, rows, _ = _fill(scratch, videos, good, shape, n_jobs)
    _publish(part, output)
    clips = [
        Clip(name, _label(name), group_of(name), files[name], *row.facts)
        for name, row in rows.items()
    ]
    return clips, rejected


def _label(name: str) -> str:
    return name.split("/", 1)[0]


def _fill(
    scratch: Path, videos: Path, files: dict[str, str], shape: tuple[int, int, int], n_jobs: int
) -> tuple[Path, dict[str, _Row], dict[str, str]]:
    """Fill a store in `scratch` with the frames of `files`, going on where a kill stopped it.

    Args:
        scratch: folder of stores and their journals.
        videos: folder of the videos.
        files: SHA-256 by name, in the order of the rows.
        shape: (T, H, W).
        n_jobs: processes.

    Returns:
        The store, the row of each clip that decodes and the reason for each that does not.
    """
    done = _read_journals(scratch)
    part = scratch / f"{work.digest(files)}.h5"
    journal = part.with_suffix(".jsonl")
    if not (part.exists() and journal.exists()):
        fresh = part.with_suffix(".new")
        offsets = store.create(fresh, list(files), [_label(name) for name in files], shape)
        fresh.replace(part)
        work.write_text(journal, json.dumps(offsets) + "\n")
    offsets = json.loads(journal.read_text(encoding="utf-8").split("\n", 1)[0])
    places = dict(zip(files, offsets, strict=True))

    rows: dict[str, _Row] = {}
    reasons: dict[str, str] = {}
    with journal.open("a", encoding="utf-8") as log:
        log.write("\n")  # ends a line that a kill cut short

        def finished(name: str, facts: video.VideoFacts) -> None:
            rows[name] = _Row(part, places[name], facts)
            log.write(json.dumps([files[name], places[name], *facts]) + "\n")
            log.flush()

        for name, sha256 in files.items():
            if found := done.get(sha256):
                if (found.store, found.offset) != (part, places[name]):
                    _copy(found, part, places[name], shape)
                finished(name, found.facts)
        todo = [name for name in files if name not in rows]
        pool = joblib.Parallel(n_jobs=n_jobs, return_as="generator")
        results = pool(
            joblib.delayed(_decode)(videos / name, shape, part, places[name]) for name in todo
        )
        bar = tqdm(
            results, total=len(files), initial=len(rows), desc="Decoding", unit="clip", disable=None
        )
        for name, result in zip(todo, bar if todo else (), strict=True):
            if isinstance(result, str):
                reasons[name] = result
            else:
                finished(name, result)
    return part, {name: rows[name] for name in files if name in rows}, reasons


def _read_journals(scratch: Path) -> dict[str, _Row]:
    """Return the rows that earlier runs decoded, by SHA-256."""
    done = {}
    for journal in sorted(scratch.glob("*.jsonl")):
        part = journal.with_suffix(".h5")
        for line in journal.read_text(encoding="utf-8").splitlines()[1:] if part.exists() else ():
            try:
                sha256, offset, *facts = json.loads(line)
            except json.JSONDecodeError:
                continue  # a line that a kill cut short
            done[sha256] = _Row(part, offset, video.VideoFacts(*facts))
    return done


def _decode(
    path: Path, shape: tuple[int, int, int], part: Path, offset: int
) -> video.VideoFacts | str:
    """Put a clip's frames in their place in `part`; return its facts, or why there are none."""
    try:
        frames, facts = video.read_clip(path, *shape)
    except video.UnreadableVideoError as error:
        return str(error)
    _write(part, offset, frames.data)
    return facts


def _copy(row: _Row, part: Path, offset: int, shape: tuple[int, int, int]) -> None:
    with row.store.open("rb") as file:
        file.seek(row.offset)
        _write(part, offset, file.read(math.prod(shape) * 3))


def _write(part: Path, offset: int, pixels: bytes | memoryview) -> None:
    with part.open("r+b") as file:
        file.seek(offset)
        file.write(pixels)


def _check_classes(names: Sequence[str], rejected: Sequence[Rejected]) -> None:
    """Raise a `UserError` where a class has no clip left."""
    left = Counter(map(_label, names)) - Counter(row.label for row in rejected)
    for row in rejected:
        if row.label not in left:
            raise UserError(
                f"Expected at least one clip of class {row.label} that decodes. "
                f"Received: none; {row.clip}: {row.reason}. "
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
    for scratch in part.parent.parent.iterdir():
        if scratch != part.parent:
            shutil.rmtree(scratch)
    for file in part.parent.iterdir():
        if file.stem != part.stem:
            file.unlink()
