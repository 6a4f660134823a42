"""Clusters: real processes of Bytewax's own runner on this machine."""

import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from subprocess import Popen

from tests.support.program import Argument, Ended, end, kill, python, start

PATIENCE = 100
"""Seconds that processes wait for each other where none is missing: the machine may be busy."""


def addresses(count: int) -> list[str]:
    """Addresses on the loopback interface on which nothing listens."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{listener.getsockname()[1]}" for listener in listeners]


def order_of(path: Path, **options: object) -> str:
    """The flow of `flows.order` on a database or copy, as it stands on a command line."""
    given = "".join(f", {name}={value!r}" for name, value in options.items())
    return f"flows.order:get_flow({str(path)!r}{given})"


def command_of(number: int, flow: str, places: Sequence[str], *options: Argument) -> list[str]:
    """The command line of one process of a cluster."""
    return python("-m", "bytewax.run", flow, "-i", number, "-a", ";".join(places), *options)


def process(number: int, flow: str, places: Sequence[str], *options: Argument) -> Popen[str]:
    """Start one process of a cluster; whoever calls this also ends it."""
    return start(command_of(number, flow, places, *options))


def await_connections(processes: Sequence[Popen[str]], place: str, count: int) -> None:
    """Wait until process 0 has so many connections at its address, or a process has ended.

    Each other process has a line to process 0, and Bytewax a connection.
    """
    while _established(processes[0], place) < count and all(
        each.poll() is None for each in processes
    ):
        time.sleep(0.005)


def _established(first: Popen[str], place: str) -> int:
    """Connections that process 0 has accepted at its address."""
    port = f":{int(place.split(':')[1]):04X}"
    lines = [
        line.split() for line in Path(f"/proc/{first.pid}/net/tcp").read_text().splitlines()[1:]
    ]
    # the port was free a moment ago, so that another program may have a connection from there
    held = set()
    with suppress(OSError):
        for file in Path(f"/proc/{first.pid}/fd").iterdir():
            with suppress(OSError):
                held.add(str(file.readlink()))
    return sum(
        line[1].endswith(port) and line[3] == "01" and f"socket:[{line[9]}]" in held
        for line in lines
    )


def ended(processes: Sequence[Popen[str]]) -> list[Ended]:
    """Wait until all processes have ended, each with one line on stderr at most."""
    try:
        found = [end(each) for each in processes]
    finally:
        for each in processes:
            kill(each)
    assert all(len(each.err.splitlines()) <= 1 for each in found), found
    return found


def cluster(
    paths: Sequence[Path],
    *options: Argument,
    places: Sequence[str] | None = None,
    wait_seconds: float = PATIENCE,
    **flow_options: object,
) -> list[Ended]:
    """Run a cluster to its end: process 0 on the first path, and so on."""
    places = places or addresses(len(paths))
    flows = [order_of(path, wait_seconds=wait_seconds, **flow_options) for path in paths]
    return ended([process(at, flow, places, *options) for at, flow in enumerate(flows)])
