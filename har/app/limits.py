"""What a visitor of the page may ask for."""

import ipaddress
from dataclasses import dataclass

from har.predictor.web_video import Bounds


@dataclass(frozen=True)
class Limits:
    """Bounds of one server.

    Attributes:
        megabytes: of an upload or a download.
        minutes: of a video.
        megapixels: of a frame.
        jobs: videos that are worked on at the same time.
        waiting: videos that may wait; further ones are refused.
        lives: cameras at the same time; further ones are refused.
        keep_seconds: how long files of a visitor stay.
        public: whether people from elsewhere reach the server.
    """

    megabytes: float = 100.0
    minutes: float = 5.0
    megapixels: float = 9.0
    jobs: int = 2
    waiting: int = 16
    lives: int = 8
    keep_seconds: int = 600
    public: bool = False

    @property
    def frames(self) -> int:
        """Of a video: `minutes` of sixty a second."""
        return round(self.minutes * 60 * 60)

    @property
    def downloads(self) -> Bounds:
        """The same as bounds of a download."""
        return Bounds(self.megabytes, self.minutes, seconds=60.0, addresses=not self.public)


def is_public(host: str) -> bool:
    """Tell whether a server bound to `host` can be reached from another machine."""
    if host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True
