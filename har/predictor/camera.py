"""Frames of a camera as they come."""

import time
from collections.abc import Iterator

import cv2
import numpy as np

from har.errors import UserError


class Camera:
    """A camera that is on.

    Attributes:
        name: as the user named it, `camera:0`.
    """

    def __init__(self, number: int) -> None:
        """Switch on camera `number`; 0 is the first.

        Raises:
            UserError: there is none.
        """
        self.name = f"camera:{number}"
        self._capture = cv2.VideoCapture(number)
        if not self._capture.isOpened():
            raise UserError(
                f"Expected a camera at {self.name}. Received: none that opens. Is it plugged in, "
                "used by another program, or forbidden to this one? Try another number."
            )
        # An old frame is worth nothing: the driver is to keep the newest only.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)

    def frames(self, seconds: float | None = None) -> Iterator[tuple[float, np.ndarray]]:
        """Yield frames until the caller stops, and switch the camera off.

        Args:
            seconds: stop after this time.

        Yields:
            Seconds since the first frame, and the frame, uint8 (H, W, 3) RGB.

        Raises:
            UserError: the camera gives no frames any more.
        """
        start = None
        try:
            while True:
                came, frame = self._capture.read()
                now = time.monotonic()
                if not came:
                    after = "" if start is None else f" after {now - start:.1f} s"
                    raise UserError(
                        f"Expected frames of {self.name}. Received: none any more{after}. "
                        "Plug it in again and start anew."
                    )
                start = now if start is None else start
                if seconds is not None and now - start >= seconds:
                    return
                yield now - start, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        finally:
            self._capture.release()
