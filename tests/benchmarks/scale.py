"""`make bench BENCH=scale`: how time, memory, WAL and disk grow with the database.

    python -m tests.benchmarks.scale                  1 and 10 million: takes 45 GB
    python -m tests.benchmarks.scale 100000 300000    other sizes

Each size is run with the database in memory, from cold, and from cold with all of the process and
its page cache in a seventh of the size of the database, as far as the machine allows cgroups.

The rows are shuffled, as after a migration, and nine in ten are undelivered. What is measured goes
to `build/bench/scale.json` and `scale.png`; `examples/how-fast/extrapolate.py`
draws its conclusions.
"""

import json
import os
import shutil
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from tests.benchmarks.cgroup import limited
from tests.benchmarks.measure import (
    FOLDER,
    Alone,
    Database,
    fresh_copy,
    machine,
    measured_run,
    remove,
    write_alone,
)
from tests.benchmarks.picture import draw_scale
from tests.benchmarks.targets import console
from tests.benchmarks.write_alone import numbers_of
from tests.support.program import ROOT, python, run

SIZES = (1_000_000, 10_000_000)
EXTRAPOLATE = ROOT / "examples" / "how-fast" / "extrapolate.py"
READ_BYTES = 16 * 1024 * 1024


SHARE_OF_DATABASE = 7
"""A database is so many times as large as the memory that the smallest run gets."""

LEAST_GROUP = 400_000_000
"""Bytes that a run gets in any case."""

WANTED = {
    "seconds, warm": 110.0,
    "seconds, warm, times the write alone": 4.2,
    "seconds in a seventh of memory, from cold": 240.0,
    "read there, times the database": 1.5,
    "written without files, times what the write alone writes": 1.5,
    "RssAnon with --memory-limit 512MB: MB": 600.0,
    "microseconds an event, times those at 1,000,000": 1.3,
}
"""At most, at 10 million events. Seconds depend on the machine: on the one for which 110 are wanted
the write alone took 26."""


WANTED_IN_LITTLE = {
    "times the run with all memory": 1.5,
    "read, times the database": 2.0,
    "written, times that of the run with all memory": 2.0,
}
"""At most, of LEAST_GROUP for a database of five times as much."""


@dataclass(frozen=True)
class Scale:
    """One run in the default configuration."""

    events: int
    cold: bool
    """Whether no page of the database was in memory at the start; else as many as fit."""
    group_bytes: int | None
    """Of memory for all of the process and its page cache; None: all there is."""
    memory_limit: int
    database_bytes: int
    undelivered: int
    seconds: float
    cpu_seconds: float
    anonymous_bytes: int
    wal_bytes: int
    read_bytes: int
    written_bytes: int
    spilled_bytes: int
    """Of `written_bytes` what went to files for what does not fit in memory."""
    alone: Alone | None
    """The write alone, of the same numbers in the same state of the cache; None: not measured."""
    stage_seconds: dict[str, float]
    """Of all threads that did it."""


def main(sizes: list[int]) -> None:
    """Measure, print, draw and keep."""
    found: list[Scale] = []
    for events in sizes:
        database = Database(events, "shuffled")
        database.make()
        share = max(database.path.stat().st_size // SHARE_OF_DATABASE, LEAST_GROUP)
        found += [measure(database, cold=False, alone=True), measure(database, cold=True)]
        found.append(measure(database, "--memory-limit", "512MB", cold=False))
        with limited(share) as group:
            if group is None:
                console.print("No run in less memory: this machine allows no cgroup.")
            else:
                found.append(measure(database, cold=True, group=group, group_bytes=share))
        keep(found)
    show(found)
    console.print(run(python(EXTRAPOLATE, FOLDER / "scale.json")).out)


def _own_written(scale: Scale) -> float | None:
    """What a run wrote without its scratch files, times what the write alone wrote."""
    if scale.alone is None:
        return None
    return (scale.written_bytes - scale.spilled_bytes) / scale.alone.written_bytes


def keep(found: list[Scale]) -> None:
    """Write and draw what was measured so far."""
    runs = [asdict(scale) for scale in found]
    document = {"machine": machine(), "wanted": WANTED, "runs": runs}
    (FOLDER / "scale.json").write_text(json.dumps(document, indent=2) + "\n")
    whole = [one for one in runs if one["group_bytes"] is None]
    draw_scale(FOLDER / "scale.png", whole)


def show(found: list[Scale]) -> None:
    """Print what is wanted next to what is, for the largest size."""
    most, least = max(one.events for one in found), min(one.events for one in found)
    warm, _, small, *in_group = (one for one in found if one.events == most)
    smallest = next(one for one in found if one.events == least)
    growth = (warm.seconds / warm.undelivered) / (smallest.seconds / smallest.undelivered)
    reached: list[float | None] = [
        warm.seconds,
        warm.seconds / warm.alone.seconds if warm.alone else None,
        in_group[0].seconds if in_group else None,
        in_group[0].read_bytes / in_group[0].database_bytes if in_group else None,
        _own_written(warm),
        small.anonymous_bytes / 1e6,
        growth,
    ]
    table = Table("target", "at most", "reached", title=f"{most:,} events", title_justify="left")
    for (name, wanted), value in zip(WANTED.items(), reached, strict=True):
        table.add_row(name, f"{wanted:g}", "not measured" if value is None else f"{value:.2f}")
    console.print(table)


def in_little_memory(database: Database) -> dict[str, float]:
    """The same run from cold with all memory there is, and in LEAST_GROUP, page cache included.

    What is wanted is printed next to what is; nothing where the machine allows no cgroup.
    """
    with limited(LEAST_GROUP) as group:
        if group is None:
            console.print("No run in less memory: this machine allows no cgroup.")
            return {}
        whole = measure(database, cold=True)
        small = measure(database, cold=True, group=group, group_bytes=LEAST_GROUP)
    reached = {
        "times the run with all memory": small.seconds / whole.seconds,
        "read, times the database": small.read_bytes / small.database_bytes,
        "written, times that of the run with all memory": small.written_bytes / whole.written_bytes,
    }
    table = Table("target", "at most", "reached", title_justify="left")
    table.title = f"{database.events:,} events in {LEAST_GROUP / 1e6:,.0f} MB of memory"
    for name, value in reached.items():
        table.add_row(name, f"{WANTED_IN_LITTLE[name]:g}", f"{value:.2f}")
    console.print(table)
    return reached


def measure(
    database: Database,
    *options: str,
    cold: bool,
    alone: bool = False,
    group: Path | None = None,
    group_bytes: int | None = None,
) -> Scale:
    """One run on a fresh copy, which is then removed: a disk may not hold a third one.

    With `alone`, the write alone too, on another one.
    """
    free, size = shutil.disk_usage(FOLDER).free, database.path.stat().st_size
    if free < size * 1.2:
        raise SystemExit(
            f"A copy of `{database.path}` takes {size:,} bytes and its WAL some more, "
            f"but only {free:,} are free."
        )
    copy = fresh_copy(database.path)
    forget_all()
    if not cold:
        read_through(copy)
    file = FOLDER / "profile.json"
    measured = measured_run("run", copy, "--profile", str(file), *options, group=group)
    by_itself = None
    if alone:
        numbers = numbers_of(copy, database.path, FOLDER / "numbers.parquet")
        copy = fresh_copy(database.path)
        forget_all()
        read_through(copy)
        by_itself = write_alone(copy, numbers)
        console.print(
            f"{database.events:,} events, the write alone: {by_itself.seconds:.1f} s, "
            f"written {by_itself.written_bytes / 1e9:.1f} GB"
        )
    remove(copy)
    profile: dict[str, Any] = json.loads(file.read_text())
    scale = Scale(
        events=database.events,
        cold=cold,
        group_bytes=group_bytes,
        memory_limit=measured.document["memory_limit"],
        database_bytes=size,
        undelivered=measured.document["delivered"],
        seconds=measured.document["seconds"],
        cpu_seconds=measured.cpu_seconds,
        anonymous_bytes=measured.anonymous_bytes,
        wal_bytes=measured.log_bytes,
        read_bytes=measured.read_bytes,
        written_bytes=measured.written_bytes,
        spilled_bytes=measured.spilled_bytes,
        alone=by_itself,
        stage_seconds={name: stage["seconds"] for name, stage in profile["stages"].items()},
    )
    where = "cold" if cold else "warm"
    within = f" in {group_bytes / 1e6:,.0f} MB" if group_bytes else ""
    console.print(
        f"{database.events:,} events, {where}{within}, limit {scale.memory_limit / 1e6:,.0f} MB: "
        f"{scale.seconds:.1f} s, read {scale.read_bytes / 1e9:.1f} GB, "
        f"written {scale.written_bytes / 1e9:.1f} GB ({scale.spilled_bytes / 1e9:.1f} to files), "
        f"RssAnon {scale.anonymous_bytes / 1e6:,.0f} MB"
    )
    return scale


def forget_all() -> None:
    """Let the kernel drop what its page cache holds of synced files: all of it, or our own.

    Pages of other files that were read more often would stay instead of those that are read once.
    """
    with suppress(OSError):
        Path("/proc/sys/vm/drop_caches").write_text("1")
        return
    for file in FOLDER.glob("*.db"):
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def read_through(file: Path) -> None:
    """Bring a file into the page cache, or what fits of it."""
    with file.open("rb", buffering=0) as stream:
        while stream.read(READ_BYTES):
            pass


if __name__ == "__main__":
    main([int(events) for events in sys.argv[1:]] or list(SIZES))
