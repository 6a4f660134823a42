"""Clusters: real processes of Bytewax's own runner on this machine."""

import socket
from collections.abc import Sequence
from contextlib import ExitStack
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


def process(
    number: int, flow: str, places: Sequence[str], *options: Argument, **environment: str
) -> Popen[str]:
    """Start one process of a cluster; whoever calls this also ends it."""
    command = python("-m", "bytewax.run", flow, "-i", number, "-a", ";".join(places), *options)
    return start(command, environment=environment)


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
