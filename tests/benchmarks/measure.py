"""Measures one run of a command: time, processor, memory, WAL, reads and writes."""

import os
import platform
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectors.scratch import PREFIX
from flows.cli.synth import command as synth
from tests.benchmarks.cgroup import inside
from tests.benchmarks.write_alone import BLOCK_BYTES
from tests.support.program import ceramic_order, end, python, run, started

FOLDER = Path("build/bench")
"""Where databases are kept, and results."""

LENGTH = 10
"""Events of a stream."""

SAMPLE_SECONDS = 0.01
CHILDREN_SECONDS = 0.25
"""Between two looks at which processes there are: it takes half a millisecond of a core that the
one to be measured could use."""


@dataclass(frozen=True)
class Database:
    """A database to measure on."""

    events: int
    order: str
    delivered: int = 0
    """Events in streams that are wholly delivered already."""

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return FOLDER / f"{self.events}-{self.order}-{self.delivered}.db"

    def make(self) -> None:
        """Make it, unless an earlier benchmark has."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        if not self.path.exists():
            streams, delivered = self.events // LENGTH, self.delivered // LENGTH
            partial = self.path.with_name(f"partial-{self.path.name}")
            partial.unlink(missing_ok=True)
            options: list[object] = [
                "--streams",
                streams,
                "--length",
                LENGTH,
                "--order",
                self.order,
                "--delivered",
                delivered,
                "--quiet",
            ]
            synth.main([str(partial), *map(str, options)], standalone_mode=False)
            partial.rename(self.path)


@dataclass(frozen=True)
class Alone:
    """The write alone."""

    seconds: float
    written_bytes: int
    """What was given to the disk."""


@dataclass(frozen=True)
class Measured:
    """One run of `ceramic-order`."""

    document: dict[str, Any]
    """What it printed under `--json`."""
    process_seconds: float
    """From start to exit, the interpreter's start included."""
    cpu_seconds: float
    """Of all threads, the interpreter's start included."""
    anonymous_bytes: int
    """The peak of `RssAnon`, of all processes together: memory that is not a page of a file."""
    log_bytes: int
    """The largest size of `-wal`."""
    read_bytes: int
    """What came from the disk rather than from the page cache."""
    written_bytes: int
    """What was given to the disk: `write_bytes` of `/proc/PID/io`."""
    spilled_bytes: int
    """Of that what went to the files for what does not fit in memory, as far as they have names."""

    @property
    def cores(self) -> float:
        """Busy on average."""
        return self.cpu_seconds / self.process_seconds


def fresh_copy(original: Path, name: str = "work.db") -> Path:
    """A copy without `-wal`, on disk before the clock starts.

    Otherwise whoever syncs next would wait for it to be written.
    """
    copy = FOLDER / name
    remove(copy)
    shutil.copyfile(original, copy)
    os.sync()
    return copy


def remove(database: Path) -> None:
    """Remove a database and what lies next to it."""
    for suffix in ("", "-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)


def measured_run(
    command: str, database: Path, *options: str, group: Path | None = None
) -> Measured:
    """Run the command line on a database in a process of its own; it must succeed.

    With `group`, the folder of a cgroup, within that.
    """
    program = inside(group, ceramic_order(command, database, *options, "--json", "--quiet"))
    wal = database.with_name(database.name + "-wal")
    anonymous = log_bytes = 0
    spilled: dict[Path, int] = {}
    looked = -CHILDREN_SECONDS
    start_time = time.perf_counter()
    with started(program) as process:
        # `wait4` also reports what the process has used
        while not (waited := os.wait4(process.pid, os.WNOHANG))[0]:
            if time.perf_counter() >= looked + CHILDREN_SECONDS:
                looked, processes = time.perf_counter(), _with_children(process.pid)
                # a folder that is removed meanwhile had its largest size before
                with suppress(FileNotFoundError):
                    for file in database.parent.glob(f"{PREFIX}*/*"):
                        spilled[file] = max(spilled.get(file, 0), _size(file))
            anonymous, log_bytes = (
                max(anonymous, sum(map(_anonymous_bytes, processes))),
                max(log_bytes, _size(wal)),
            )
            time.sleep(SAMPLE_SECONDS)
        seconds = time.perf_counter() - start_time
        process.returncode = os.waitstatus_to_exitcode(waited[1])
        ended = end(process)
    if ended.code != 0:
        raise RuntimeError(f"`{' '.join(program)}`: {ended}")
    used = waited[2]
    return Measured(
        document=ended.document,
        process_seconds=seconds,
        cpu_seconds=used.ru_utime + used.ru_stime,
        anonymous_bytes=anonymous,
        log_bytes=log_bytes,
        read_bytes=used.ru_inblock * BLOCK_BYTES,
        written_bytes=used.ru_oublock * BLOCK_BYTES,
        spilled_bytes=sum(spilled.values()),
    )


def write_alone(path: Path, numbers: Path) -> Alone:
    """What it takes to write the `numbers_of` a run into `path`, and nothing else."""
    return Alone(**run(python("-m", "tests.benchmarks.write_alone", path, numbers)).document)


def bare_start() -> float:
    """Seconds from start to exit of an interpreter that does nothing."""
    start_time = time.perf_counter()
    run(python("-c", "pass"))
    return time.perf_counter() - start_time


def machine() -> dict[str, Any]:
    """On what was measured."""
    return {
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "read_ahead_kib": _read_ahead(),
    }


def _read_ahead() -> int | None:
    """How far the disk reads ahead: what a process reads from it depends on that. None: unknown."""
    disk = FOLDER.stat().st_dev
    file = Path(f"/sys/class/bdi/{os.major(disk)}:{os.minor(disk)}/read_ahead_kb")
    return int(file.read_text()) if file.exists() else None


def _with_children(pid: int) -> list[int]:
    """A process and all that it has started."""
    try:
        started = " ".join(
            children.read_text() for children in Path(f"/proc/{pid}").glob("task/*/children")
        )
    except (FileNotFoundError, ProcessLookupError):
        return [pid]
    return [pid, *(process for child in started.split() for process in _with_children(int(child)))]


def _anonymous_bytes(pid: int) -> int:
    """`RssAnon` of a process: of its resident pages those that are of no file."""
    try:
        _, resident, of_files, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return (int(resident) - int(of_files)) * os.sysconf("SC_PAGE_SIZE")


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
