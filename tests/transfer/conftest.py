from disks import small_disk  # noqa: F401
from https_server import certificate, server, start, untrusted  # noqa: F401
