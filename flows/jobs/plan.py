"""The plan of a run: what it will take, found out before anything is changed."""

import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from connectors.errors import CannotStartError
from connectors.source import UndeliveredSource
from connectors.sqlite import DATABASE_ERRORS, Connection, scalar
from connectors.undelivered import COUNT_UNDELIVERED, HIGHEST_ROWID
from flows.amounts import MEGABYTE
from flows.machine import memory_there_is
from flows.memory import EVENT_BYTES, Memory
from flows.terminal.words import counted
from operators.order import SHARDS

ROW_BYTES = """
    SELECT coalesce(avg(length(CAST(order_key AS BLOB)) + length(CAST(cid AS BLOB))), 0)
    FROM (SELECT order_key, cid FROM ceramic_one_event LIMIT 1000)
"""

OTHER_COLUMNS_BYTES = 130
"""Bytes of a row without its key and CID: eight hashes, the time, the init CID, SQLite's own."""

INDEX_ENTRY_BYTES = 24
"""Bytes of an event in the index on `delivered`, before and after its number is set."""

FRAME_BYTES = 24
"""Bytes that the WAL holds for each page in addition to the page."""

SPARE_SHARE = 1 / 4
"""The share of an estimate of disk that must be free beyond it."""

LEAST_MEMORY = 100 * MEGABYTE
"""Bytes of memory below which nothing is started: Python and its libraries take 60 MB, and a page
of events on its way another 40."""

SAMPLES = 3
"""Pages of events, far from each other, that are read to find out how fast reading is."""

OTHER_MICROSECONDS = 6.0
"""Microseconds for an event, for all but reading it, on the machine of the benchmark
(examples/how-fast)."""


@dataclass(frozen=True)
class PlanSettings:
    """When a plan times the reading, and when it refuses."""

    least_batch_rows: int = 50_000
    """A transaction of fewer events is not worth its checkpoint: with less room nothing is started.
    """
    sampled_from: int = 500_000
    """Undelivered events from which on reading is timed: it takes a tenth of a second."""


@dataclass(frozen=True)
class Plan:
    """What a run will take, at most where the rows lie in random order."""

    undelivered: int
    database_bytes: int
    memory_limit: int
    spilled_bytes: int
    """Bytes of waiting events that go to files; 0: all stay in memory."""
    scratch: str
    """The folder in which a folder for these files is made."""
    scratch_free_bytes: int
    wal_bytes: int
    """Bytes of the WAL of the largest transaction; rows that lie parents first take less."""
    disk_free_bytes: int
    """Free bytes of the disk that the database is on."""
    batch_rows: int | None
    """The most events of a transaction; None: all that lie in random order are written in one."""
    seconds: float | None
    """About how many seconds a run takes, by how fast this machine reads; None: a moment."""

    def to_json(self) -> dict[str, object]:
        """What stands under `plan` in the documents of `run` and `status` (flows/cli/README.md)."""
        return asdict(self)

    def __str__(self) -> str:
        """The plan as one line for people."""
        parts = [f"{self.undelivered:,} undelivered events", f"{_size(self.memory_limit)} memory"]
        if self.spilled_bytes:
            parts.append(f"{_size(self.spilled_bytes)} to files in {self.scratch}")
        parts.append(f"a WAL of {_size(self.wal_bytes)} at most")
        parts.append(f"{_size(self.disk_free_bytes)} of disk free")
        if self.batch_rows is not None:
            parts.append(f"transactions of {counted(self.batch_rows, 'event')}")
        if self.seconds is not None:
            parts.append(f"about {_duration(self.seconds)}")
        return ", ".join(parts)


def make_plan(
    connection: Connection,
    source: UndeliveredSource,
    memory: Memory,
    scratch: Path,
    *,
    batch_rows: int | None = None,
    writes: bool = True,
    must_end: bool = True,
    settings: PlanSettings = PlanSettings(),  # frozen
) -> Plan:
    """Find out what a run would take.

    Args:
        connection: to the database, open for reading.
        source: of the run; its reading is timed.
        memory: how it is shared out.
        scratch: the folder for what does not fit in it.
        batch_rows: events of a transaction at most, if the user has chosen it.
        writes: whether the database is to be written; else nothing is asked of its disk.
        must_end: whether too little disk is refused; a dry run only says so.
        settings: from where on it says more, or refuses.

    Raises:
        CannotStartError: there is too little memory or disk for the run to end.
    """
    path = source.path
    if must_end:
        _require_memory(memory)
    undelivered = int(scalar(connection, COUNT_UNDELIVERED) or 0)
    page_bytes = int(scalar(connection, "PRAGMA page_size"))
    waiting = undelivered * EVENT_BYTES
    spilled = waiting if waiting > memory.shard * SHARDS else 0
    pages = _changed_pages(connection, undelivered, page_bytes) if writes else 0
    scratch_free, disk_free = _free(scratch), _free(path.parent)
    if spilled * (1 + SPARE_SHARE) > scratch_free and must_end:
        raise CannotStartError(
            f"`{scratch}` has `{scratch_free:,}` bytes free, but about `{spilled:,}` and some more "
            "are needed for waiting events",
            advice="Make room there, or set TMPDIR to a folder on another disk.",
        )
    wal_bytes = pages * (page_bytes + FRAME_BYTES)
    if writes:
        same_disk = scratch.stat().st_dev == path.parent.stat().st_dev
        room = int((disk_free - (spilled if same_disk else 0)) / (1 + SPARE_SHARE))
        if batch_rows is None and wal_bytes > room:
            batch_rows = max(room, 0) // (page_bytes + FRAME_BYTES)
            if batch_rows < min(settings.least_batch_rows, undelivered) and must_end:
                raise CannotStartError(
                    f"The disk of `{path}` has `{disk_free:,}` bytes free, too little for the WAL",
                    why=f"`{undelivered:,}` events in random order change up to "
                    f"`{wal_bytes:,}` bytes of pages",
                    advice="Make room on that disk.",
                )
        if batch_rows is not None:
            wal_bytes = min(wal_bytes, batch_rows * (page_bytes + FRAME_BYTES) * 5 // 4)
    return Plan(
        undelivered=undelivered,
        database_bytes=path.stat().st_size,
        memory_limit=memory.limit,
        spilled_bytes=spilled,
        scratch=str(scratch),
        scratch_free_bytes=scratch_free,
        wal_bytes=wal_bytes,
        disk_free_bytes=disk_free,
        batch_rows=batch_rows,
        seconds=(
            _seconds(connection, source, undelivered)
            if undelivered >= settings.sampled_from
            else None
        ),
    )


def _require_memory(memory: Memory) -> None:
    whole = memory_there_is()
    least = min(memory.limit, whole)
    if least < LEAST_MEMORY:
        which = "`--memory-limit` allows" if memory.limit <= whole else "This process has"
        raise CannotStartError(
            f"{which} `{least // MEGABYTE}MB` of memory, which is too little",
            advice=f"Give it at least `{LEAST_MEMORY // MEGABYTE}MB`.",
        )


def _changed_pages(connection: Connection, undelivered: int, page_bytes: int) -> int:
    """Pages of the event table and of the index on `delivered` that numbers for all change."""
    row_bytes = float(scalar(connection, ROW_BYTES)) + OTHER_COLUMNS_BYTES
    rows = int(scalar(connection, HIGHEST_ROWID))
    in_table = min(undelivered, int(rows * row_bytes / page_bytes) + 1)
    in_index = int(2 * undelivered * INDEX_ENTRY_BYTES / page_bytes) + 1
    return in_table + in_index if undelivered else 0


def _seconds(connection: Connection, source: UndeliveredSource, undelivered: int) -> float | None:
    """About how long a run takes, from the time that pages at several places take to read."""
    last = int(scalar(connection, HIGHEST_ROWID))
    events, started = 0, time.perf_counter()
    try:
        for sample in range(SAMPLES):
            pages = source.pages(connection, "0/1", last * sample // SAMPLES)
            page = next(pages, None)
            events += page.events.num_rows if page is not None else 0
    except DATABASE_ERRORS:
        # the run itself says what can't be read, when it has delivered what can
        return None
    reading = (time.perf_counter() - started) / max(events, 1)
    return undelivered * (reading + OTHER_MICROSECONDS / 1e6)


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _size(count: int) -> str:
    """Bytes, as people read them."""
    for unit, name in ((10**9, "GB"), (10**6, "MB")):
        if count >= unit:
            return f"{count / unit:,.1f} {name}"
    return f"{count:,} bytes"


def _duration(seconds: float) -> str:
    for unit, name in ((3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.0f} {name}"
    return f"{seconds:,.0f} seconds"
