"""What UCF50 and UCF101 share: where their clips come from and where they go.

Clips come from what `dataset.path` names (an archive, or a folder that holds the clips or the
archive), else by download. They go to `Class/clip.avi`, whatever folders stand around them in
the archive. The class is the folder's name, never the file's: UCF has
`Billiards/v_Billards_g01_c01.avi`, `PullUps/v_Pullup_…` and
`HandstandPushups/v_HandStandPushups_…`.
"""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from har import files
from har.datasets import folder
from har.errors import UserError
from har.params import DatasetParams
from har.transfer import checksums
from har.transfer.archive import Archive
from har.transfer.checksums import Known
from har.transfer.download import download

DEFAULT_PATH = Path("videos")  # of params.yaml; that it holds no UCF clips is no mistake

_VIDEOS = {".avi", ".mp4", ".mkv", ".mov", ".webm"}
_ARCHIVES = {".rar", ".zip", ".7z", ".tar", ".tgz", ".gz", ".bz2", ".xz"}
_FLAT = re.compile(r"v_(\w+)_g\d+_c\d+")


@dataclass(frozen=True)
class Source:
    """A data set.

    Attributes:
        name: as people write it, `UCF50`.
        classes: the names of its folders.
        url: where it is downloaded from.
        known: what is known of its archives, by file name.
    """

    name: str
    classes: tuple[str, ...]
    url: str
    known: Mapping[str, Known]

    @cached_property
    def _canonical(self) -> dict[str, str]:
        return {name.casefold(): name for name in self.classes}

    def place(self, name: str) -> PurePosixPath | None:
        """Return `Class/clip.ext` for a file of this data set, None for any other.

        Args:
            name: its path in an archive or a folder, with `/`. The folder next to the file is
                the class; where that is no class, as in `UCF101_videos.zip`, which is flat, the
                file's name tells it. Upper and lower case do not matter.
        """
        path = PurePosixPath(name)
        if path.suffix.lower() not in _VIDEOS or any(part.startswith(".") for part in path.parts):
            return None
        label = self._canonical.get(path.parent.name.casefold())
        if label is None and (flat := _FLAT.fullmatch(path.stem)):
            label = self._canonical.get(flat[1].casefold())
        return PurePosixPath(label, path.name) if label else None


def fetch(source: Source, params: DatasetParams, destination: Path) -> None:
    """Fill `destination` with `Class/clip.ext`.

    Args:
        source: the data set.
        params: `classes` to take, all where empty; `path`, `url` and `insecure_tls`.
        destination: a folder in which an earlier call may have left a part of the work.

    Raises:
        UserError: a class is unknown or has no clip, `path` holds nothing of the data set, or
            download or archive failed.
    """
    _check_classes(source, params.classes, source.classes, source.name)
    found = locate(source, params.path)
    if found is None:
        found = _download(source, params)
    elif isinstance(found, Path):
        _check_known(source, found)
    if isinstance(found, Path):
        archive = Archive(found)
        clips = {
            m.name: p for m in archive.members if m.kind == "file" and (p := source.place(m.name))
        }
        _check_found(source, params, found, clips)
        archive.unpack(destination, lambda name: _chosen(clips.get(name), params))
        _record(source, found)
    else:
        _check_found(source, params, params.path, found)
        shutil.rmtree(destination, ignore_errors=True)  # a killed run's links, to clips since gone
        for name, place in sorted(found.items()):
            if _chosen(place, params):
                folder.link(params.path / name, destination / place)


def _check_known(source: Source, archive: Path) -> None:
    """Hold an archive of the user's against what is known of its name.

    Half an archive may unpack without an error, to fewer clips: some formats have no end.
    """
    known = checksums.recorded(archive.name) or source.known.get(archive.name, Known())
    n_bytes = archive.stat().st_size
    if not known.n_bytes:
        return
    expected, facts = f"{known.n_bytes:,} bytes", f"{n_bytes:,} bytes"
    if known.sha256 and n_bytes == known.n_bytes:
        expected, facts = f"SHA-256 {known.sha256}", f"SHA-256 {files.file_sha256(archive)}"
    if facts != expected:
        raise UserError(
            f"Expected {expected} ({known.origin}) of {archive}. Received: {facts}. Get it anew if "
            "it is damaged; rename it if it is meant to be another archive; or, if you trust it, "
            "put its bytes and sha256 in checksums.json."
        )


def locate(source: Source, path: Path) -> Path | dict[str, PurePosixPath] | None:
    """Find the data set where `dataset.path` points.

    Returns:
        An archive; or the clips of a folder, path below it to `Class/clip.ext`; or None where
        `path` is the default and holds neither.

    Raises:
        UserError: any other `path` holds neither or is not there, or two files are one clip.
    """
    if path.is_file():
        return path
    if path.is_dir():
        files = [file for file in sorted(path.rglob("*")) if file.is_file()]
        names = [file.relative_to(path).as_posix() for file in files]
        clips = {name: place for name in names if (place := source.place(name))}
        if clips:
            _check_distinct(path, clips)
            return clips
        for file in files:
            if file.parent == path and _is_archive_of(source, file):
                return file
    if path == DEFAULT_PATH:
        return None
    what = "holds neither" if path.is_dir() else "does not exist"
    raise UserError(
        f"dataset.path: expected {source.name}, as an archive, or as a folder that holds it or "
        f"Class/clip.avi. Received: {path}, which {what}. Correct the path, or leave it at "
        f"{DEFAULT_PATH} to download."
    )


def _is_archive_of(source: Source, file: Path) -> bool:
    name = file.name.casefold().replace("-", "").replace("_", "")
    return file.suffix.casefold() in _ARCHIVES and bool(
        re.match(rf"{source.name.casefold()}(?!\d|traintest)", name)
    )


def _check_distinct(path: Path, clips: Mapping[str, PurePosixPath]) -> None:
    first: dict[PurePosixPath, str] = {}
    for name, place in clips.items():
        if place in first:
            raise UserError(
                f"Expected each clip once in {path}. Received: {first[place]} and {name}. "
                "Name the folder that holds one copy with dataset.path."
            )
        first[place] = name


def _check_found(
    source: Source, params: DatasetParams, path: Path, clips: Mapping[str, PurePosixPath]
) -> None:
    present = sorted({place.parts[0] for place in clips.values()})
    if not present:
        raise UserError(
            f"Expected the clips of {source.name}, Class/clip.avi, in {path}. Received: none. "
            "Correct dataset.path or dataset.url."
        )
    _check_classes(source, params.classes, present, str(path))
    print(f"{path}: {len(clips)} clips, {len(present)} of {len(source.classes)} classes")


def _check_classes(
    source: Source, wanted: tuple[str, ...], present: tuple[str, ...] | list[str], where: str
) -> None:
    if missing := [name for name in wanted if name not in present]:
        raise UserError(
            f"dataset.classes: expected classes of {where} ({', '.join(present)}). "
            f"Received: {', '.join(missing)}. Correct the names."
        )


def _chosen(place: PurePosixPath | None, params: DatasetParams) -> PurePosixPath | None:
    return place if place and (not params.classes or place.parts[0] in params.classes) else None


def file_name(url: str) -> str:
    """Return the last part of a URL's path, by which archives are known."""
    return PurePosixPath(unquote(urlsplit(url).path)).name or "archive"


def _download(source: Source, params: DatasetParams) -> Path:
    url = params.url or source.url
    name = file_name(url)
    known = checksums.recorded(name) or source.known.get(name)
    target = files.folder("downloads") / name
    download(url, target, known, insecure_tls=params.insecure_tls)
    return target


def _record(source: Source, archive: Path) -> None:
    """Record the checksum of a first download, now that it has proved to be the data set."""
    if archive.parent != files.folder("downloads"):
        return
    known = checksums.recorded(archive.name) or source.known.get(archive.name, Known())
    if known.sha256 is None:
        checksums.record(archive.name, archive.stat().st_size, files.file_sha256(archive))
