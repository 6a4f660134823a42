"""`make bench BENCH=scale`: how time, memory, WAL and disk grow with the database.

    python -m tests.benchmarks.scale                  1, 3 and 10 million: takes 40 GB
    python -m tests.benchmarks.scale 100000 300000    other sizes

The rows are shuffled, as after a migration, and nine in ten are undelivered. What is measured goes
to `build/bench/scale.json` and `scale.png`; `examples/how-fast/extrapolate.py` draws its conclusions.
"""

import json
import os
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import FOLDER, Database, fresh_copy, machine, measured_run, remove
from tests.benchmarks.picture import draw_scale
from tests.benchmarks.targets import console
from tests.support.program import ROOT, python, run

SIZES = (1_000_000, 3_000_000, 10_000_000)
EXTRAPOLATE = ROOT / "examples" / "scale" / "extrapolate.py"
READ_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Scale:
    """One run in the default configuration."""

    events: int
    cold: bool
    """Whether no page of the database was in memory at the start; else as many as fit."""
    database_bytes: int
    undelivered: int
    seconds: float
    cpu_seconds: float
    anonymous_bytes: int
    log_bytes: int
    read_bytes: int
    written_bytes: int
    stage_seconds: dict[str, float]
    """Of all threads that did it."""


def main(sizes: list[int]) -> None:
    """Measure, print, draw and keep."""
    found = []
    for events in sizes:
        database = Database(events, "shuffled")
        database.make()
        for cold in (False, True):
            found.append(measure(database, cold=cold))
            console.print(
                f"{events:,} events, {'cold' if cold else 'warm'}: {found[-1].seconds:.1f} s"
            )
    runs = [asdict(scale) for scale in found]
    (FOLDER / "scale.json").write_text(
        json.dumps({"machine": machine(), "runs": runs}, indent=2) + "\n"
    )
    draw_scale(FOLDER / "scale.png", runs)
    console.print(run(python(EXTRAPOLATE, FOLDER / "scale.json")).out)


def measure(database: Database, *, cold: bool) -> Scale:
    """One run on a fresh copy, which is then removed: a disk may not hold a third one."""
    free, size = shutil.disk_usage(FOLDER).free, database.path.stat().st_size
    if free < size * 1.2:
        raise SystemExit(
            f"A copy of `{database.path}` takes {size:,} bytes and its WAL some more, "
            f"but only {free:,} are free."
        )
    copy = fresh_copy(database.path)
    forget(database.path)
    (forget if cold else read_through)(copy)
    file = FOLDER / "profile.json"
    measured = measured_run("run", copy, "--profile", str(file))
    remove(copy)
    profile: dict[str, Any] = json.loads(file.read_text())
    return Scale(
        events=database.events,
        cold=cold,
        database_bytes=size,
        undelivered=measured.document["delivered"],
        seconds=measured.document["seconds"],
        cpu_seconds=measured.cpu_seconds,
        anonymous_bytes=measured.anonymous_bytes,
        log_bytes=measured.log_bytes,
        read_bytes=measured.read_bytes,
        written_bytes=measured.written_bytes,
        stage_seconds={name: stage["seconds"] for name, stage in profile["stages"].items()},
    )


def forget(file: Path) -> None:
    """Let the kernel drop a synced file from its page cache; that needs no root."""
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
