"""Addresses of processes: one process listens at its own, and others reach it, in bounded time."""

import errno
import os
import socket
import time
from threading import Thread
from typing import NamedTuple

from connectors.errors import CannotStartError

LAST_PORT = 65_535


class Endpoint(NamedTuple):
    """What a name stands for: a family of addresses, and one of them."""

    family: int
    host: str
    port: int


def listen(address: str, until: float) -> socket.socket:
    """Listen at the first endpoint that can be listened at, as Bytewax does afterwards.

    Raises:
        OSError: there is none, or its name is not known in time.
    """
    *others, last = _endpoints(address, until)
    for endpoint in others:
        try:
            return socket.create_server(endpoint[1:], family=endpoint.family)
        except OSError:
            continue
    return socket.create_server(last[1:], family=last.family)


def reach(address: str, until: float) -> socket.socket:
    """Connect with whoever listens at an address.

    Raises:
        OSError: nobody does, or can't be reached in time.
    """
    endpoints = _endpoints(address, until)
    for at, endpoint in enumerate(endpoints, 1):
        # the first may be one that does not answer
        left = (until - time.monotonic()) / (len(endpoints) - at + 1)
        try:
            connection = socket.create_connection(endpoint[1:], timeout=max(0.01, left))
            # where nobody listens the system may connect a port of this machine with itself
            if connection.getsockname() == connection.getpeername():
                connection.close()
                raise _error(errno.ECONNREFUSED)
        except OSError:
            if at == len(endpoints):
                raise
        else:
            return connection
    raise _error(errno.EADDRNOTAVAIL)


def _endpoints(address: str, until: float) -> list[Endpoint]:
    """What an address stands for: at least one endpoint.

    A name server that does not answer is waited for in a thread of its own, which can be left.
    """
    host, port = host_and_port(address)
    found: list[Endpoint] = []
    failed: list[OSError] = []

    def resolve() -> None:
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as cause:
            failed.append(cause)
        except UnicodeError:
            failed.append(_error(errno.EINVAL))
        else:
            found.extend(Endpoint(info[0], str(info[4][0]), port) for info in infos)

    thread = Thread(target=resolve, name="resolve", daemon=True)
    thread.start()
    thread.join(max(0.0, until - time.monotonic()))
    if failed:
        raise failed[0]
    if not found:
        raise TimeoutError(errno.ETIMEDOUT, f"no name server says what `{host}` is")
    return found


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def host_and_port(address: str) -> tuple[str, int]:
    """The parts of an address.

    Raises:
        CannotStartError: it has no port.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > LAST_PORT:
        raise CannotStartError(
            f"`{address}` is no address of a process", advice="Give `host:port` for each."
        )
    return host.strip("[]"), int(port)
