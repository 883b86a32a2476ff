"""What a user names: a file, a folder of files, an address, a camera."""

import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from har.clips import segments
from har.errors import UserError


class Camera:
    """A camera that is on; raises a `UserError` where it does not open."""

    def __init__(self, number: int) -> None:
        self.name = f"camera:{number}"
        self._capture = cv2.VideoCapture(number)
        if not self._capture.isOpened():
            raise UserError(
                f"{self.name} does not open: it is not plugged in, another program uses it, or "
                "this one may not. Try another number."
            )
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame only

    def frames(self, seconds: float | None = None) -> Iterator[tuple[float, np.ndarray]]:
        """Yield frames, uint8 (H, W, 3) RGB, with seconds since the first; then switch it off.

        A `UserError` says that the camera gives no more.
        """
        start = None
        try:
            while True:
                came, frame = self._capture.read()
                now = time.monotonic()
                if not came:
                    after = "" if start is None else f" after {now - start:.1f} s"
                    raise UserError(
                        f"{self.name} gave no more frames{after}. Plug it in again and restart."
                    )
                start = now if start is None else start
                if seconds is not None and now - start >= seconds:
                    return
                yield now - start, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        finally:
            self._capture.release()


def camera_of(sources: Sequence[str]) -> Camera | None:
    """Switch on the camera that is named as `camera:0`, if any."""
    named = [name for name in sources if name.startswith("camera:") and not Path(name).exists()]
    if not named:
        return None
    match = re.fullmatch(r"camera:(\d{1,4})", named[0])
    if not match:
        raise UserError(
            f"Expected a camera as camera:0, camera:1 …. Received: {named[0]}. "
            "0 is the first camera of this machine."
        )
    if len(sources) > 1:
        raise UserError(
            f"Expected a camera by itself. Received: {', '.join(sources)}. "
            "Run `har predict` once for the camera and once for the rest."
        )
    return Camera(int(match[1]))


def files_of(source: str) -> list[Path]:
    """Return the files that `source` names, of a folder those not hidden.

    A `UserError` says that there is no such file, or that a folder is empty or cannot be read.
    """
    path = Path(source)
    try:
        path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"There is no video at {source}: {reason[:1].lower()}{reason[1:]}. "
            "Name a file, a folder, an address (http://…) or a camera (camera:0)."
        ) from None
    found = [path] if path.is_file() else sorted(segments.walk(path))
    if not found:
        raise UserError(f"The folder {source} holds no file. Name another.")
    return found
