"""A folder of videos to a frame store and a table of clips, on all cores, resumable after a kill.

Workers write pixels into a new store under `.work/`; a journal names every clip that is done, by
content, with a checksum of its pixels. A run copies from earlier stores and decodes the rest.
"""

import contextlib
import hashlib
import json
import math
import shutil
import uuid
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
from tqdm import tqdm

from har import files
from har.clips import pool, segments, store, video
from har.clips.segments import Segment, printable
from har.clips.store import Clip
from har.errors import UserError

UNREADABLE = "cannot be read: a link to nothing, or permission denied"
BATCH_BYTES = 64 << 20  # of frames that one pass through a video keeps
LOW_RESOLUTION = "GoPro's low-resolution copy of another file"


class Rejected(NamedTuple):
    """A row of rejected.csv: a file that does not decode, and why."""

    clip: str
    label: str
    reason: str


class _Row(NamedTuple):
    store: Path
    offset: int  # of the clip's frames
    crc: int  # CRC-32 of them
    facts: video.VideoFacts


def list_videos(folder: Path) -> list[str]:
    """List the files of `folder/Class/…`, as sorted POSIX paths below it."""
    found = segments.walk(folder) if folder.is_dir() else ()
    clips = [path.relative_to(folder).as_posix() for path in found if path.parent != folder]
    if not clips:
        raise UserError(
            f"Expected videos as {folder}/Class/clip.ext. Received: none. "
            "Run `dvc repro fetch` to bring them."
        )
    return sorted(clips)


def extract(
    videos: Path,
    shape: tuple[int, int, int],
    output: Path,
    *,
    group_pattern: str | None = None,
    n_jobs: int = -1,
) -> tuple[list[Clip], list[Rejected]]:
    """Decode every clip below `videos` into the frame store `output`, whole or not at all.

    `videos` holds `Class/clip.ext`, or segments.csv and the videos that it names. Of each clip
    (T, H, W) = `shape` frames are kept. `group_pattern` is that of `segments.group_of`, `n_jobs`
    that of `pool.decoder`.

    Returns:
        The clips that decode, in the order of the store, and those that do not.

    Raises:
        UserError: there is no video, a folder cannot be read, or a class has none that decodes.
    """
    videos = videos.absolute()
    if (clips := segments.read(videos)) is None:
        clips = {
            name: Segment(name, 0.0, None, segments.group_of(name, group_pattern) or name)
            for name in list_videos(videos)
        }
    clips = dict(sorted(clips.items()))
    sources = sorted({clip.source for clip in clips.values()})
    # What frames come out depends on this and on the bytes of the file, on nothing else.
    key = files.digest(list(shape), Path(str(video.__file__)), cv2.__version__)
    scratch = files.folder("extract", key).absolute()
    # Workers get ready while the files are hashed.
    with pool.decoder(n_jobs=n_jobs, n_files=len(sources)) as decode:
        with ThreadPoolExecutor() as threads:
            hashes = threads.map(_sha256, [videos / name for name in sources])
            by_source = dict(zip(sources, hashes, strict=True))
        digests = {name: _digest(by_source[clip.source], clip) for name, clip in clips.items()}
        reasons = {name: reason for name in clips if (reason := _refusal(name, digests[name]))}
        _check_classes(clips, reasons)
        while True:
            digests = {name: digests[name] for name in clips if name not in reasons}
            part, rows, bad = _fill(scratch, videos, clips, digests, shape, decode)
            reasons |= bad
            _check_classes(clips, reasons)
            if not bad:
                break
    part.chmod(0o444)  # it stays as the next run's scratch
    files.link(part, output)
    for folder in scratch.parent.iterdir():
        if folder != scratch:
            shutil.rmtree(folder)  # frames of another shape, or of another version of the code
    rejected = []
    for name, reason in sorted(reasons.items()):
        row = f"row {clips[name].row} of the table: " if clips[name].row else ""
        rejected.append(Rejected(printable(name), printable(_label(name)), row + reason))
    decoded = [
        Clip(name, _label(name), clips[name].group, digests[name], *facts)
        for name, facts in rows.items()
    ]
    return decoded, rejected


def _digest(source: str | None, clip: Segment) -> str | None:
    # What tells a clip's content: the SHA-256 of its file, or of that and its part.
    if source is None or (clip.start, clip.end) == (0.0, None):
        return source
    return hashlib.sha256(f"{source} {clip.start} {clip.end}".encode()).hexdigest()


def _sha256(path: Path) -> str | None:
    with contextlib.suppress(FileNotFoundError, PermissionError):
        return files.file_sha256(path)
    return None


def _refusal(name: str, sha256: str | None) -> str | None:
    if printable(name) != name:
        return video.BAD_NAME
    if name.lower().endswith(".lrv"):
        return LOW_RESOLUTION
    return None if sha256 else UNREADABLE


def _label(name: str) -> str:
    return name.split("/", 1)[0]


def _fill(
    scratch: Path,
    videos: Path,
    clips: Mapping[str, Segment],
    digests: Mapping[str, str],
    shape: tuple[int, int, int],
    decode: pool.Decoder,
) -> tuple[Path, dict[str, video.VideoFacts], dict[str, str]]:
    """Return a store of `digests` (by clip), facts of clips that decode, reasons of the others."""
    earlier = _read_journals(scratch)
    part = scratch / f"{uuid.uuid4().hex}.h5"
    offsets = store.create(part, list(digests), [_label(name) for name in digests], shape)
    places = dict(zip(digests, offsets, strict=True))
    done: dict[str, video.VideoFacts] = {}
    reasons: dict[str, str] = {}
    bar = tqdm(total=len(digests), desc="Decoding", unit="clip", disable=None)
    with bar, part.with_suffix(".jsonl").open("w", encoding="utf-8") as journal:

        def finish(name: str, facts: video.VideoFacts, crc: int) -> None:
            done[name] = facts
            line = json.dumps([digests[name], places[name], crc, *facts])
            journal.write(f"{zlib.crc32(line.encode()):08x} {line}\n")
            journal.flush()
            bar.update()

        with part.open("r+b") as file:
            for name, sha256 in digests.items():
                for row in earlier[sha256]:
                    if pixels := _pixels(row, math.prod(shape) * 3):
                        file.seek(places[name])
                        file.write(pixels)
                        file.flush()
                        finish(name, row.facts, row.crc)
                        break
        for path in scratch.iterdir():
            if path.stem != part.stem:
                path.unlink()  # all of it that is still in use is in `part`
        batches, jobs = {}, {}
        for names in _batches(clips, [name for name in digests if name not in done], shape):
            spans = [(clips[name].start, clips[name].end) for name in names]
            path = videos / clips[names[0]].source
            batches[names[0]] = names
            jobs[names[0]] = pool.Job(path, spans, shape, part, [places[name] for name in names])
        for first, results in decode(jobs) if jobs else ():
            names = batches[first]
            if isinstance(results, str):
                results = [results] * len(names)
            for name, result in zip(names, results, strict=True):
                if isinstance(result, str):
                    reasons[name] = result
                    bar.update()
                else:
                    finish(name, *result)
    return part, {name: done[name] for name in digests if name in done}, reasons


def _batches(
    clips: Mapping[str, Segment], names: Iterable[str], shape: tuple[int, int, int]
) -> Iterator[list[str]]:
    # One pass through a video decodes its clips, as far as their frames fit in memory.
    by_source = defaultdict(list)
    for name in names:
        by_source[clips[name].source].append(name)
    size = max(BATCH_BYTES // (math.prod(shape) * 3), 1)
    for together in by_source.values():
        together.sort(key=lambda name: clips[name].start)
        yield from (together[i : i + size] for i in range(0, len(together), size))


def _read_journals(scratch: Path) -> Mapping[str, list[_Row]]:
    rows: dict[str, list[_Row]] = defaultdict(list)
    for part in scratch.glob("*.h5"):
        journal = part.with_suffix(".jsonl")
        for line in journal.read_bytes().splitlines() if journal.exists() else ():
            checksum, _, text = line.partition(b" ")
            if checksum == b"%08x" % zlib.crc32(text):  # no kill cut it short, nothing damaged it
                sha256, offset, crc, *facts = json.loads(text)
                rows[sha256].append(_Row(part, offset, crc, video.VideoFacts(*facts)))
    return rows


def _pixels(row: _Row, size: int) -> bytes | None:
    with row.store.open("rb") as file:
        file.seek(row.offset)
        pixels = file.read(size)
    return pixels if zlib.crc32(pixels) == row.crc else None


def _check_classes(names: Iterable[str], reasons: Mapping[str, str]) -> None:
    left = {_label(name) for name in names if name not in reasons}
    for name in sorted(reasons):
        if _label(name) not in left:
            raise UserError(
                f"Expected at least one clip of class {printable(_label(name))} that decodes. "
                f"Received: none; {printable(name)}: {reasons[name]}. "
                "Replace the files or leave the class out with dataset.classes."
            )
