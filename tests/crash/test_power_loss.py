"""Power loss, by what a disk may hold then: of all that a run wrote, only what was synced before is certain to be there.

The writes of a real run are recorded below SQLite. For moments of it, the files are built as they may be found after a power loss:
every write that was not yet synced is there, or not, or only some of its sectors are.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Literal

import pytest

from tests.crash.conftest import Children, Faults, Template, check_rerun, check_stopped
from tests.oracle import check, read

MAIN, WAL = 1, 2
NAMES = {MAIN: "node.db", WAL: "node.db-wal"}
RECORD = struct.Struct("<cB6xQQ")
FRAME_HEADER = 24
"""Bytes before each page in the log; the second four are not zero in the last frame of a transaction."""
SECTOR = 512
"""What a disk writes whole."""


@dataclass(frozen=True)
class Change:
    """One change that a run made to a file: call is that of faults.c."""

    call: bytes
    file: int
    offset: int
    content: bytes


def _changes(log: bytes) -> Iterator[Change]:
    at = 0
    while at < len(log):
        call, file, offset, length = RECORD.unpack_from(log, at)
        at += RECORD.size
        yield Change(call, file, offset, log[at : at + length])
        at += length


Fate = Literal["lost", "torn", "written"]


class Disk:
    """The files as they are on the disk, and the changes that are only in memory."""

    def __init__(self, database: bytes) -> None:
        self.stored = {MAIN: bytearray(database)}
        self.unsynced: dict[int, list[Change]] = {MAIN: [], WAL: []}

    def change(self, change: Change) -> None:
        """Go on by one change."""
        if change.call == b"s":
            for earlier in self.unsynced[change.file]:
                _apply(self.stored, earlier)
            self.unsynced[change.file].clear()
        else:
            self.unsynced[change.file].append(change)

    def after_power_loss(self, fate: Callable[[], Fate], tear: Callable[[int], int], folder: Path) -> Path:
        """Write the files as they may be found: fate decides of each unsynced change, tear how much of it is there."""
        files = {file: bytearray(content) for file, content in self.stored.items()}
        for change in [*self.unsynced[MAIN], *self.unsynced[WAL]]:
            match fate():
                case "written":
                    _apply(files, change)
                case "torn" if change.call == b"w":
                    sectors = tear(len(change.content) // SECTOR + 1)
                    _apply(files, Change(b"w", change.file, change.offset, change.content[: sectors * SECTOR]))
        for file, name in NAMES.items():
            (folder / name).unlink(missing_ok=True)
            if file in files:
                (folder / name).write_bytes(files[file])
        (folder / "node.db-shm").unlink(missing_ok=True)
        return folder / NAMES[MAIN]


def _apply(files: dict[int, bytearray], change: Change) -> None:
    if change.call == b"u":
        files.pop(change.file, None)
        return
    content = files.setdefault(change.file, bytearray())
    end = change.offset + len(change.content)
    content.extend(bytes(max(0, end - len(content))))
    if change.call == b"t":
        del content[change.offset :]
    else:
        content[change.offset : end] = change.content


@dataclass(frozen=True)
class Recorded:
    """A run that went to its end, and all that it changed."""

    database: Path
    changes: list[Change]


def _record(small: Template, folder: Path, library: Path, *options: str) -> Recorded:
    database, log = small.copy(folder), folder / "changes"
    ended = Children(folder, lambda: library).run(database, "--batch-rows", "20", *options, faults=Faults(log=log))
    assert ended.code == 0, ended
    return Recorded(database, list(_changes(log.read_bytes())))


@pytest.fixture(scope="module")
def recorded(small: Template, tmp_path_factory: pytest.TempPathFactory, faults_library: Path) -> Recorded:
    """A run of some 40 batches."""
    return _record(small, tmp_path_factory.mktemp("recorded"), faults_library)


def _check_moments(recorded: Recorded, small: Template, rng: Random, moments: int, children: Children) -> None:
    chosen = rng.sample(range(len(recorded.changes)), moments)
    rerun = chosen[: moments // 20]
    disk = Disk(small.path.read_bytes())
    for moment, change in enumerate(recorded.changes):
        disk.change(change)
        if moment in chosen:
            fates: list[Fate] = rng.choice([["lost"], ["lost", "written"], ["lost", "torn"], ["torn", "written"]])
            database = disk.after_power_loss(partial(rng.choice, fates), rng.randrange, children.folder)
            check_stopped(small.contents, database)
            if moment in rerun:
                check_rerun(small.contents, database, children)


def test_a_power_loss_at_any_moment_leaves_whole_batches_and_a_rerun_finishes(
    recorded: Recorded, small: Template, children: Children, rng: Random
) -> None:
    _check_moments(recorded, small, rng, 60, children)


@pytest.mark.soak
@pytest.mark.parametrize("rng", range(10, 15), indirect=True)
def test_power_losses_at_a_thousand_moments(recorded: Recorded, small: Template, children: Children, rng: Random) -> None:
    _check_moments(recorded, small, rng, 1000, children)


def test_a_power_loss_after_the_end_loses_nothing(recorded: Recorded, small: Template, tmp_path: Path) -> None:
    disk = Disk(small.path.read_bytes())
    for change in recorded.changes:
        disk.change(change)
    check(small.contents, read(disk.after_power_loss(lambda: "lost", lambda _: 0, tmp_path)))


def test_the_recorded_changes_are_all_there_were(recorded: Recorded, small: Template, tmp_path: Path) -> None:
    disk = Disk(small.path.read_bytes())
    for change in recorded.changes:
        disk.change(change)
    rebuilt = disk.after_power_loss(lambda: "written", lambda sectors: sectors, tmp_path)
    assert rebuilt.read_bytes() == recorded.database.read_bytes()


def _events_lost(recorded: Recorded, small: Template, folder: Path) -> int:
    """How many events are undelivered again at most, if the power is lost when the next one is begun and nothing unsynced is there."""
    disk, committed, lost = Disk(small.path.read_bytes()), 0, 0
    begun_after = 0
    for change in recorded.changes:
        is_frame = change.file == WAL and change.call == b"w" and len(change.content) == FRAME_HEADER
        if is_frame and begun_after < committed:
            begun_after = committed
            kept = len(check_stopped(small.contents, disk.after_power_loss(lambda: "lost", lambda _: 0, folder)))
            written = len(check_stopped(small.contents, disk.after_power_loss(lambda: "written", lambda sectors: sectors, folder)))
            lost = max(lost, written - kept)
        disk.change(change)
        committed += is_frame and any(change.content[4:8])
    assert committed > 30
    return lost


def test_a_durable_run_has_synced_a_batch_before_it_begins_the_next(small: Template, faults_library: Path, tmp_path: Path) -> None:
    recorded = _record(small, tmp_path, faults_library, "--durable")
    assert _events_lost(recorded, small, tmp_path) == 0


def test_without_durable_the_newest_batches_may_be_lost(recorded: Recorded, small: Template, tmp_path: Path) -> None:
    assert _events_lost(recorded, small, tmp_path) > 0
