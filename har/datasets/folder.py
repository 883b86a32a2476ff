"""A folder of one's own: `Class/clip.ext`, linked and not copied."""

import os
import shutil
from pathlib import Path

from har.errors import UserError
from har.params import DatasetParams


def fetch(params: DatasetParams, destination: Path) -> None:
    """Link the clips below `params.path` into `destination`.

    A hard link where the file system allows it, so that the pipeline's cache shares the bytes
    with the folder; a symbolic link across file systems; a copy where neither works. Hidden
    files are left out.

    Args:
        params: `path` is the folder and `classes` the sub-folders to take, all where empty.
        destination: an empty folder, or what a killed run left of this one.

    Raises:
        UserError: `path` is not a folder, holds no `Class/clip.ext`, or lacks a class.
    """
    classes = find_classes(params.path)
    missing = [name for name in params.classes if name not in classes]
    if missing:
        raise UserError(
            f"dataset.classes: expected folders of {params.path} ({', '.join(classes)}). "
            f"Received: {', '.join(missing)}. Correct the names."
        )
    for name in params.classes or classes:
        for file in _files(params.path / name):
            link(file, destination / file.relative_to(params.path))


def find_classes(path: Path) -> list[str]:
    """List the classes of a folder of videos, sorted.

    Raises:
        UserError: `path` is not a folder or none of its sub-folders holds a file.
    """
    if not path.is_dir():
        raise UserError(
            f"dataset.path: expected a folder of Class/clip.ext. Received: {path}, which "
            f"{'is a file' if path.exists() else 'does not exist'}. Correct the path."
        )
    classes = sorted(
        child.name
        for child in path.iterdir()
        if child.is_dir() and not child.name.startswith(".") and _files(child)
    )
    if not classes:
        raise UserError(
            f"dataset.path: expected a folder of Class/clip.ext. Received: {path}, which has no "
            "file in any sub-folder. Put the clips of each class in a folder named as the class."
        )
    return classes


def _files(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.rglob("*")
        if file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def link(source: Path, target: Path) -> None:
    """Make `target` the same file as `source` with as little copying as the system allows."""
    source = source.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)  # what a killed run made, a half copy perhaps
    for make in (os.link, os.symlink, shutil.copyfile):
        try:
            make(source, target)
        except OSError:
            continue
        return
    raise UserError(
        f"Expected to link or copy {source} to {target}. Received: refusals. "
        "Check the permissions and the free space."
    )
