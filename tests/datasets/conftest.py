import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "transfer"))

from disks import small_disk  # noqa: F401
from https_server import certificate, server, start, untrusted  # noqa: F401
