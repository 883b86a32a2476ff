"""What a user names: a file, a folder of files, an address, a camera."""

import re
from collections.abc import Iterator
from pathlib import Path

from har.errors import UserError
from har.predictor.web_video import is_url

_CAMERA = re.compile(r"camera:(\d+)")


def camera_of(source: str) -> int | None:
    """Return the number of the camera that `source` names, `None` if it names none.

    Raises:
        UserError: it begins as a camera's name and goes on otherwise.
    """
    if not source.startswith("camera:") or Path(source).exists():
        return None
    if match := _CAMERA.fullmatch(source):
        return int(match[1])
    raise UserError(
        f"Expected a camera as camera:0, camera:1 …. Received: {source}. "
        "0 is the first camera of this machine."
    )


def files_of(source: str) -> list[Path] | None:
    """Return the files that `source` names, those of a folder sorted; `None` for an address.

    Hidden files and folders are passed over.

    Raises:
        UserError: there is no such file, or the folder is empty.
    """
    if is_url(source):
        return None
    path = Path(source)
    try:
        if path.is_file():
            return [path]
        found = sorted(_below(path))
    except OSError as error:
        raise UserError(
            f"Expected a video at {source}. Received: {error.strerror or error}. "
            "Name another file, folder, address or camera."
        ) from None
    if not found:
        what = "an empty folder" if path.is_dir() else "no such file"
        raise UserError(
            f"Expected a video at {source}. Received: {what}. "
            "Name a file, a folder, an address (http://…) or a camera (camera:0)."
        )
    return found


def _below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden:
            yield path
