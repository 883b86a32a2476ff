"""What UCF50 and UCF101 share: where their clips come from and where they go.

Clips come from what `dataset.path` names (an archive, or a folder that holds the clips or the
archive), else by download, and go to `Class/clip.avi`. The class is the folder's name, not the
file's: UCF has `Billiards/v_Billards_g01_c01.avi`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from har import files
from har.clips import segments
from har.datasets import folder
from har.errors import UserError
from har.params import DatasetParams
from har.transfer.archive import Archive
from har.transfer.download import download

DEFAULT_PATH = Path("videos")  # of params.yaml; that it holds no UCF clips is no mistake
_VIDEOS = {".avi", ".mp4", ".mkv", ".mov", ".webm"}
_FLAT = re.compile(r"v_(\w+)_g\d+_c\d+")


@dataclass(frozen=True)
class Source:
    """A data set."""

    name: str  # as people write it, `UCF50`
    classes: tuple[str, ...]  # the names of its folders
    url: str
    # Size in bytes and SHA-256 (None where not published) of its archives, by name.
    known: Mapping[str, tuple[int, str | None]]

    @cached_property
    def _canonical(self) -> dict[str, str]:
        return {name.casefold(): name for name in self.classes}

    def place(self, name: str) -> PurePosixPath | None:
        """Return `Class/clip.ext` for a file of this data set, None for any other.

        Where its folder is no class, as in the flat `UCF101_videos.zip`, the file's name has it.
        """
        path = PurePosixPath(name)
        if path.suffix.lower() not in _VIDEOS or any(part.startswith(".") for part in path.parts):
            return None
        label = self._canonical.get(path.parent.name.casefold())
        if label is None and (flat := _FLAT.fullmatch(path.stem)):
            label = self._canonical.get(flat[1].casefold())
        return PurePosixPath(label, path.name) if label else None


def fetch(source: Source, params: DatasetParams, destination: Path) -> None:
    """Fill `destination`, which an earlier call may have filled in part, with `Class/clip.ext`."""
    folder.chosen(params.classes, source.classes, source.name)
    found = locate(source, params.path)
    if isinstance(found, dict):
        wanted = _wanted(source, params, params.path, found)
        clips = {str(place): params.path / name for name, place in wanted.items()}
        return folder.link_all(clips, destination)
    url = params.url or source.url
    path = found or files.folder("downloads") / file_name(url)
    known = (None, params.sha256) if params.sha256 else source.known.get(path.name, (None, None))
    n_bytes, sha256 = known
    if found:
        _check(path, n_bytes, sha256)
    else:
        download(url, path, sha256=sha256, n_bytes=n_bytes)
    archive = Archive(path)
    places = {m.name: source.place(m.name) for m in archive.members if m.kind == "file"}
    wanted = _wanted(source, params, path, {n: place for n, place in places.items() if place})
    archive.unpack(destination, wanted.get)
    if not found and not sha256:
        print(
            f"{path.name} has the SHA-256 {files.file_sha256(path)}. Set dataset.sha256 to it: "
            "every later download must then have the same bytes."
        )


def locate(source: Source, path: Path) -> Path | dict[str, PurePosixPath] | None:
    """Find the data set where `dataset.path` points.

    Returns:
        An archive; or the clips of a folder, path below it to `Class/clip.ext`; or None where
        `path` is the default and holds neither.
    """
    if path.is_file():
        return path
    if path.is_dir():
        names = [file.relative_to(path).as_posix() for file in segments.walk(path, notes=True)]
        if clips := {name: place for name in names if (place := source.place(name))}:
            first: dict[PurePosixPath, str] = {}
            for name, place in clips.items():
                if first.setdefault(place, name) != name:
                    raise UserError(
                        f"Expected each clip once in {path}. Received: {first[place]} and {name}. "
                        "Name the folder that holds one copy with dataset.path."
                    )
            return clips
        for file in path.iterdir():
            name = file.name.casefold().replace("-", "").replace("_", "")
            archive = file.suffix.casefold() in (".rar", ".zip")
            if archive and re.match(rf"{source.name.casefold()}(?!\d|traintest)", name):
                return file
    if path == DEFAULT_PATH:
        return None
    what = "holds neither" if path.is_dir() else "does not exist"
    raise UserError(
        f"dataset.path: expected {source.name}, as an archive, or as a folder that holds it or "
        f"Class/clip.avi. Received: {path}, which {what}. Correct the path, or leave it at "
        f"{DEFAULT_PATH} to download."
    )


def _wanted(
    source: Source, params: DatasetParams, path: Path, clips: Mapping[str, PurePosixPath]
) -> dict[str, PurePosixPath]:
    present = {place.parts[0] for place in clips.values()}
    if not present:
        raise UserError(
            f"Expected the clips of {source.name}, Class/clip.avi, in {path}. Received: none. "
            "Correct dataset.path or dataset.url."
        )
    classes = folder.chosen(params.classes, present, str(path))
    print(f"{path}: {len(clips)} clips, {len(present)} of {len(source.classes)} classes")
    return {name: place for name, place in clips.items() if place.parts[0] in classes}


def file_name(url: str) -> str:
    """Return the last part of a URL's path, by which archives are known."""
    return PurePosixPath(unquote(urlsplit(url).path)).name or "archive"


def _check(archive: Path, n_bytes: int | None, sha256: str | None) -> None:
    # Half an archive may unpack without an error, to fewer clips.
    expected, found = f"{n_bytes:,} bytes" if n_bytes else "", f"{archive.stat().st_size:,} bytes"
    if sha256 and n_bytes in (None, archive.stat().st_size):
        expected, found = f"SHA-256 {sha256}", f"SHA-256 {files.file_sha256(archive)}"
    if expected not in ("", found):
        raise UserError(
            f"Expected {expected} of {archive}. Received: {found}. Get it again if it is damaged; "
            "if you trust it, set dataset.sha256 to its SHA-256."
        )
