"""What two processes of a cluster say to each other: JSON objects over a connection, one a line."""

import json
import socket
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TypeAlias, TypedDict, cast

from connectors.errors import Parts
from connectors.fingerprint import Fingerprint

LONGEST = 1 << 20
"""The most bytes of a message: far more than any that is sent."""

KEEPALIVE = {
    "TCP_KEEPIDLE": 5,
    "TCP_KEEPINTVL": 2,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 11_000,  # milliseconds, where something was sent that nobody has received
}
"""A machine that no longer answers is noticed after 11 seconds; the end of a process at once."""

LAST_SECONDS = 0.5
"""How long a process that fails waits until the others have read why."""

Options: TypeAlias = Mapping[str, int | str]
"""What all processes must have alike, by name."""


class Terms(TypedDict, total=False):
    """What process 0 has, for the others to compare."""

    options: Options
    partitions: int
    """Of the source, in all processes together."""
    file: list[int | str]
    """Which file it writes, as `connectors.fingerprint.file_identity` says."""
    state: Fingerprint
    """Of the database at the start."""


class Message(TypedDict, total=False):
    """What a process says: some of these fields at a time."""

    process: int
    """Its number, when it connects."""
    terms: Terms
    machine: str
    """On which it runs."""
    is_same_file: bool
    """Whether it reads the file that process 0 writes."""
    machines: list[str]
    """Of all processes."""
    reached: bool
    """It has connected with all processes of lower numbers."""
    go: bool
    """All processes have done so."""
    refusal: Parts
    """Why it can't start, an error."""
    failed: Parts
    """Why it stops, an error."""
    discovered: int
    """Events that it has read."""
    partitions_read: int
    """Partitions that it has read to their end."""
    wrong_notes: list[str]
    """CIDs in hex of events whose stream the node noted wrongly."""
    said: str
    """What process 0 says of the whole run in the end."""


class LineLostError(Exception):
    """The other process is gone, or what came from it is no message."""


class Line:
    """One end of a line."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE.items():
            # macOS has other names for some
            if (option := getattr(socket, name, None)) is not None:
                connection.setsockopt(socket.IPPROTO_TCP, option, value)
        self._connection = connection
        self._received = connection.makefile("rb")

    def send(self, message: Message) -> None:
        """Send a message.

        Raises:
            LineLostError: the other process is gone.
        """
        try:
            self._connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError as cause:
            raise LineLostError from cause

    def receive(self, seconds: float | None = None) -> Message:
        """Wait for a message; None: for as long as the other process lives.

        Raises:
            LineLostError: there will be none, or there was none in that time.
        """
        try:
            self._connection.settimeout(seconds)
            message = json.loads(self._received.readline(LONGEST))
            self._connection.settimeout(None)
        except (OSError, ValueError) as cause:
            raise LineLostError from cause
        if not isinstance(message, dict):
            raise LineLostError
        return cast("Message", message)

    def send_last(self, message: Message) -> None:
        """Send the last message; it may not arrive."""
        with suppress(OSError, LineLostError):
            self.send(message)
            self._connection.shutdown(socket.SHUT_WR)

    def close(self, seconds: float = 0.0) -> None:
        """Hang up, if the other process does not do so within so much time."""
        with suppress(OSError):
            self._connection.settimeout(seconds)
            # bytes that nobody has read would make the system throw our last message away
            while self._connection.recv(LONGEST):
                pass
        # whoever waits for a message learns that there will be none
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()
        self._received.close()


def hang_up(lines: Iterable[Line], message: Message) -> None:
    """Send a last message on each line, and wait a moment until it has been read."""
    until = time.monotonic() + LAST_SECONDS
    for line in (all_lines := list(lines)):
        line.send_last(message)
    for line in all_lines:
        line.close(max(0.01, until - time.monotonic()))
