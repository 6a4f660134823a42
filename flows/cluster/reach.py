"""How processes find out whether the network lets them connect with each other.

Bytewax connects each with all those of lower numbers, and where it can't it tries for ever.
"""

import socket
import time
from collections.abc import Iterator
from typing import Self

from connectors.errors import CannotStartError
from flows.cluster.address import listen, reach
from flows.cluster.line import Line, LineLostError
from flows.jobs.invocation import Invocation

HELLO_SECONDS = 2.0
"""How long whoever connects may take to say its number: it may be another program altogether."""


class Listener:
    """Listens at the address of this process, until it is closed."""

    def __init__(self, invocation: Invocation, until: float) -> None:
        """Listen.

        Raises:
            CannotStartError: that can't be.
        """
        process = invocation.process
        address = invocation.addresses[process]
        try:
            self._socket = listen(address, until)
        except OSError as cause:
            raise CannotStartError(
                f"Process `{process}` can't listen at its address `{address}`",
                # Python adds in brackets what it did
                why=(cause.strerror or str(cause)).partition(" (")[0],
                advice="It must be started once, on the machine of that address, and no other "
                "program may use that port.",
            ) from cause

    def accepted(self, until: float) -> Iterator[Line]:
        """Whoever connects in time."""
        while (left := until - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                return
            yield Line(connection)

    def address(self) -> str:
        """Where it listens, as numbers."""
        host, port = self._socket.getsockname()[:2]
        return f"[{host}]:{port}" if self._socket.family == socket.AF_INET6 else f"{host}:{port}"

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def reach_lower(invocation: Invocation, until: float) -> None:
    """Connect with the processes of lower numbers, but for process 0.

    Raises:
        CannotStartError: one of them can't be reached.
    """
    process = invocation.process
    for lower in range(1, process):
        address = invocation.addresses[lower]
        try:
            line = Line(reach(address, until))
        except OSError as cause:
            why = cause.strerror or str(cause)
        else:
            line.send_last({"process": process})
            is_it = number_of(line, until - time.monotonic()) == lower
            line.close()
            if is_it:
                continue
            why = "another program answers there"
        raise CannotStartError(
            f"Process `{process}` can't reach process `{lower}` at `{address}`",
            why=why,
            advice="Every process must be able to connect with all those of lower numbers: look at "
            "the addresses, and at what the network lets through.",
        )


def let_higher_reach(listener: Listener, invocation: Invocation, until: float) -> None:
    """Answer the processes of higher numbers. Whoever does not get through says so itself."""
    higher = set(range(invocation.process + 1, invocation.processes))
    for line in listener.accepted(until):
        higher.discard(number_of(line))
        line.send_last({"process": invocation.process})
        line.close(HELLO_SECONDS)
        if not higher:
            return


def number_of(line: Line, seconds: float = HELLO_SECONDS) -> int:
    """The number of the process at the other end; -1: it is none of ours."""
    try:
        return int(line.receive(max(0.01, seconds))["process"])
    except (LineLostError, KeyError, TypeError, ValueError):
        return -1
