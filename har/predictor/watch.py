"""An eye on every connection that a thread opens: where it leads, and for how long.

Downloads run through other people's code, which follows redirects and resolves names by itself,
so looking at the address that a user typed proves nothing. Python tells an audit hook of each
connection right before it is made, with the number that the name was resolved to.
"""

import contextlib
import ipaddress
import os
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

_TUNNELS = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16")))


class PrivateAddressError(Exception):
    """A connection that leads inside the machine or its network."""


class Watch:
    """What happened to the connections of a thread.

    Attributes:
        expired: the time is up, and all connections were cut.
        refused: a connection led to a private address.
    """

    def __init__(self, public_only: bool) -> None:
        self.public_only = public_only
        self.expired = self.refused = False
        self._descriptors: list[int] = []

    def connecting(self, connection: socket.socket, address: Any) -> None:
        """See a connection that is about to be made; raise to prevent it."""
        if self.public_only and not is_public(address):
            self.refused = True
            raise PrivateAddressError("an address inside the server's network")
        if self.expired:
            raise TimeoutError("timed out")
        # TLS takes the socket over, so the object is no use later; its descriptor is.
        self._descriptors.append(os.dup(connection.fileno()))

    def cut(self) -> None:
        """End all connections: whoever waits for a byte gets an error."""
        self.expired = True
        for descriptor in self._descriptors:
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as copy:
                copy.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the descriptors back."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()


class _Current(threading.local):
    watch: Watch | None = None


_current = _Current()


@contextlib.contextmanager
def watching(seconds: float, *, public_only: bool) -> Iterator[Watch]:
    """Watch what this thread connects to, and cut it all after `seconds`.

    Args:
        seconds: until the connections are cut.
        public_only: refuse private addresses, and programs, whose connections nobody sees.
    """
    _install()
    watch = _current.watch = Watch(public_only)
    timer = threading.Timer(seconds, watch.cut)
    timer.daemon = True
    timer.start()
    try:
        yield watch
    finally:
        timer.cancel()
        timer.join()
        _current.watch = None
        watch.close()


def is_public(address: Any) -> bool:
    """Tell whether a socket's address, (number, port, …), is one of the public internet."""
    try:
        ip = ipaddress.ip_address(address[0].split("%")[0])
    except (ValueError, TypeError, AttributeError, IndexError):
        return False  # a name, to be resolved out of sight, or a socket of this machine
    if isinstance(ip, ipaddress.IPv6Address):
        if any(ip in tunnel for tunnel in _TUNNELS):
            return False
        ip = ip.ipv4_mapped or ip
    return ip.is_global and not ip.is_multicast


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and _current.watch:
        _current.watch.connecting(*arguments)
    elif event == "subprocess.Popen" and _current.watch and _current.watch.public_only:
        raise PermissionError("no programs while a stranger's address is fetched")


_installed = threading.Lock()


def _install() -> None:
    # A hook stays for the life of the process, so there is to be one.
    if _installed.acquire(blocking=False):
        sys.addaudithook(_hook)
