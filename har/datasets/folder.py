"""A folder of one's own: `Class/clip.ext`, linked and not copied."""

import shutil
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

from har import files
from har.clips import segments
from har.errors import UserError
from har.params import DatasetParams

SIDES = {"dev", "test", "testing", "train", "training", "val", "valid", "validation"}


def fetch(params: DatasetParams, destination: Path) -> None:
    """Link the clips of `params.classes` (all where empty) below `params.path` into `destination`.

    A folder of train, val and test that hold the same classes is joined to one set.
    """
    clips = find_clips(params.path)
    wanted = chosen(params.classes, {name.split("/")[0] for name in clips}, str(params.path))
    link_all({n: file for n, file in clips.items() if n.split("/")[0] in wanted}, destination)


def chosen(wanted: Iterable[str], present: Iterable[str], where: str) -> set[str]:
    """Return the classes to take of those `present`: `wanted`, or all where it is empty."""
    names, known = [nfc(name) for name in wanted], sorted(present)
    if missing := [name for name in names if name not in known]:
        raise UserError(
            f"dataset.classes: expected classes of {where} ({', '.join(known)}). "
            f"Received: {', '.join(missing)}. Correct the names."
        )
    return set(names or known)


def find_clips(path: Path) -> dict[str, Path]:
    """Return a folder's files by the name `Class/…/clip.ext` in NFC (macOS writes NFD), sorted."""
    if not path.is_dir():
        raise UserError(
            f"dataset.path: expected a folder of Class/clip.ext. Received: {path}, which "
            f"{'is a file' if path.exists() else 'does not exist'}. Correct the path."
        )
    clips: dict[str, Path] = {}
    for file in segments.walk(path, notes=True):
        name = nfc(file.relative_to(path).as_posix())
        if name in clips:
            raise UserError(f"{clips[name]} and {file} have the same name. Rename one of them.")
        if "/" in name:
            clips[name] = file
    if not clips:
        raise UserError(
            f"dataset.path: expected a folder of Class/clip.ext. Received: {path}, which has no "
            "file in any sub-folder. Put the clips of each class in a folder named as the class."
        )
    return dict(sorted(_join_sides(path, clips).items()))


def nfc(name: str) -> str:
    """Return a name with accents in one coding, NFC; a name that is not UTF-8 is an error."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(f"The name {name!r} is not UTF-8. Rename the file or folder.") from None
    return unicodedata.normalize("NFC", name)


def _join_sides(path: Path, clips: dict[str, Path]) -> dict[str, Path]:
    # Kaggle's layout, side/Class/clip.ext, becomes Class/side/clip.ext.
    split = {name: name.split("/", 2) for name in clips}
    folders = sorted({parts[0] for parts in split.values()})
    sides = [name for name in folders if name.casefold() in SIDES]
    if len(sides) < 2 and sides != folders:
        return clips
    inside = {
        side: sorted({p[1] if len(p) > 2 else "clips" for p in split.values() if p[0] == side})
        for side in sides
    }
    loose = any(len(parts) < 3 for parts in split.values())
    if sides != folders or loose or len({tuple(names) for names in inside.values()}) > 1:
        held = "; ".join(f"{side}: {', '.join(names)}" for side, names in inside.items())
        raise UserError(
            f"dataset.path: expected a folder a class, or train, val and test that hold the same "
            f"class folders. Received: {path} with {', '.join(folders)} ({held}). Name one of them "
            "with dataset.path, or put every clip into the folder of its class."
        )
    print(
        f"{path}: {', '.join(sides)} hold the same {len(inside[sides[0]])} classes. They are "
        "joined to one set; the pipeline makes its own folds."
    )
    return {f"{p[1]}/{p[0]}/{p[2]}": clips[name] for name, p in split.items()}


def link_all(clips: Mapping[str, Path], destination: Path) -> None:
    """Fill `destination` with links to the files of `clips`, and with nothing else."""
    shutil.rmtree(destination, ignore_errors=True)  # a killed run's links, to clips since gone
    for name, file in clips.items():
        files.link(file, destination / name, symbolic=True)
