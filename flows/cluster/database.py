"""What each process of a cluster reads: the database itself, or a copy of the same state."""

import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from connectors.claim import Claim, claim
from connectors.database import locate
from connectors.errors import CannotStartError
from connectors.fingerprint import Fingerprint, file_identity, fingerprint
from connectors.schema import read_schema
from connectors.snapshot import Reader
from connectors.source import PARTITIONS
from connectors.sqlite import Connection, connect, starting
from flows.cluster.cluster import Cluster
from flows.cluster.line import Options, Terms
from flows.cluster.meeting import Meeting

VERSIONS = ("ceramic-order", "bytewax", "pyarrow")
"""What the batches that processes send each other depend on, Python apart."""


@dataclass(frozen=True)
class Opened:
    """A database as one process has it open."""

    path: Path
    connect: Callable[[Path], Connection]
    cluster: Cluster
    partitions: int
    """Of the source, in all processes together."""
    held: Claim | None = None
    """The claim of process 0."""
    reader: Reader | None = None
    """What reads the copy of another process."""


def open_database(
    meeting: Meeting, stack: ExitStack, path: Path, partitions: int | None, options: Options
) -> Opened:
    """Claim the database (process 0), or open what this process can read of it, and meet the rest.

    Process 0 holds the database as a run does: no other program can open it. A process that reads
    the same file needs no lock. Until the flow has ended, what is written goes to the WAL alone, so
    it reads the file as immutable and sees the state at the start, as in a copy.

    Args:
        meeting: of the processes.
        stack: closes everything in the end.
        path: of the database, or of the copy.
        partitions: of the source; None: process 0 decides.
        options: what else all processes must have alike, by name.

    Raises:
        CannotStartError: it can't be used, or the processes don't fit; nothing was changed.
    """
    invocation = meeting.invocation
    options = {
        **_versions(),
        "workers (-w)": invocation.workers,
        "processes (-a)": invocation.processes,
        **options,
    }
    if not meeting.is_first:
        return _open_to_read(meeting, stack, locate(path), partitions, options)
    path = locate(path, writable=True)
    held = stack.enter_context(claim(path))
    partitions = partitions or PARTITIONS * meeting.invocation.processes
    terms: Terms = {"options": options, "partitions": partitions}
    if meeting.invocation.processes > 1:
        # the others read the file without its WAL
        held.begin()
        terms |= {"file": file_identity(path), "state": _state(held.connect, path)}
    return Opened(path, held.connect, meeting.lead(terms), partitions, held)


def _open_to_read(
    meeting: Meeting, stack: ExitStack, path: Path, partitions: int | None, options: Options
) -> Opened:
    terms = meeting.terms()
    partitions = partitions or terms["partitions"]
    all_there = {**terms["options"], "partitions": terms["partitions"]}
    for name, value in {**options, "partitions": partitions}.items():
        if value != (there := all_there.get(name)):
            raise CannotStartError(
                f"This process does not fit process `0`: `{name}` is `{value}` here and "
                f"`{there}` there",
                advice="Start all processes with the same options and versions.",
            )
    is_same_file = file_identity(path) == terms["file"]
    reader = None if is_same_file else stack.enter_context(Reader(path, static=True))
    opened = reader or _connect_as_immutable
    for name, value in _state(opened, path).items():
        if value != (there := terms["state"].get(name)):
            raise CannotStartError(
                f"`{path}` is a copy of another state than the database of process `0`",
                why=f"`{name}` is `{value}` here and `{there}` there",
                advice="Copy it anew while the node is stopped.",
            )
    cluster = meeting.agree(is_same_file=is_same_file)
    return Opened(path, opened, cluster, partitions, reader=reader)


def _state(opened: Callable[[Path], Connection], path: Path) -> Fingerprint:
    with starting(path), closing(opened(path)) as connection:
        read_schema(connection, path)
        return fingerprint(connection, path)


def _connect_as_immutable(path: Path) -> Connection:
    return connect(path, immutable=True)


def _versions() -> Options:
    from importlib import metadata  # noqa: PLC0415 # a run without a cluster need not load it

    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {"python": python, **{name: metadata.version(name) for name in VERSIONS}}
