"""What a visitor of the page may ask for."""

import contextlib
import ipaddress
from dataclasses import dataclass

from har.predictor.web_video import Bounds


@dataclass(frozen=True)
class Limits:
    """Bounds of one server."""

    megabytes: float = 100.0  # of an upload or a download
    minutes: float = 5.0  # of a video
    megapixels: float = 9.0  # of a frame
    jobs: int = 2  # videos that are recognised at the same time
    waiting: int = 16  # videos that may wait; further ones are refused
    cameras: int = 8  # at the same time; further ones are refused
    keep_seconds: int = 600  # that a visitor's files stay
    public: bool = False  # other people reach the server: it takes uploads and no addresses

    @property
    def download(self) -> Bounds:
        """Bounds of a download."""
        return Bounds(self.megabytes, self.minutes, seconds=60.0, addresses=not self.public)


def is_public(host: str) -> bool:
    """Return whether other machines reach a server that listens at `host`."""
    with contextlib.suppress(ValueError):
        return not ipaddress.ip_address(host).is_loopback
    return host != "localhost"
