"""What a run writes, recorded below SQLite, and what is left of it after a power loss.

A disk then holds all that was synced, and any part of the rest.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from tests.crash.conftest import Children, Faults, Program, Template

MAIN, WAL = 1, 2
NAMES = {MAIN: "node.db", WAL: "node.db-wal"}
RECORD = struct.Struct("<cB6xQQ")
FRAME_HEADER = 24
"""Bytes before each page in the WAL; the second four are not zero in the last frame of a
transaction."""
SECTOR = 512
"""What a disk writes whole."""


@dataclass(frozen=True)
class Change:
    """One change that a run made to a file: call is that of faults.c."""

    call: bytes
    file: int
    offset: int
    content: bytes


def changes_in(recorded: bytes) -> Iterator[Change]:
    """What faults.c has written to FAULTS_CHANGES."""
    at = 0
    while at < len(recorded):
        call, file, offset, length = RECORD.unpack_from(recorded, at)
        at += RECORD.size
        yield Change(call, file, offset, recorded[at : at + length])
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

    def as_written(self) -> dict[int, bytearray]:
        """The files as the running program sees them."""
        files = {file: bytearray(content) for file, content in self.stored.items()}
        for change in [*self.unsynced[MAIN], *self.unsynced[WAL]]:
            _apply(files, change)
        return files

    def after_power_loss(
        self, fate: Callable[[], Fate], tear: Callable[[int], int], folder: Path
    ) -> Path:
        """Write the files as they may be found.

        `fate` decides of each unsynced change, `tear` how much of it is there.
        """
        files = {file: bytearray(content) for file, content in self.stored.items()}
        for change in [*self.unsynced[MAIN], *self.unsynced[WAL]]:
            match fate():
                case "written":
                    _apply(files, change)
                case "torn" if change.call == b"w":
                    sectors = tear(len(change.content) // SECTOR + 1)
                    _apply(
                        files,
                        Change(
                            b"w", change.file, change.offset, change.content[: sectors * SECTOR]
                        ),
                    )
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

    template: Template
    database: Path
    changes: list[Change]

    @cached_property
    def commits(self) -> list[int]:
        """Which changes were the last frame of a transaction: its header has a size."""
        return [
            at
            for at, change in enumerate(self.changes)
            if is_frame(change) and any(change.content[4:8])
        ]

    @cached_property
    def checkpoints(self) -> list[int]:
        """Which changes ended a checkpoint: the database is synced after a part was written."""
        found, written = [], False
        for at, change in enumerate(self.changes):
            if change.file == MAIN and change.call == b"s" and written:
                found.append(at)
                written = False
            written |= change.file == MAIN and change.call == b"w"
        return found

    @cached_property
    def restarts(self) -> list[int]:
        """Which changes started the WAL anew, over its older content."""
        return [
            at
            for at, change in enumerate(self.changes)
            if change.file == WAL and change.call == b"w" and not change.offset
        ][1:]

    def disk(self, moment: int | None = None) -> Disk:
        """The files after the changes before `moment`, or after all."""
        disk = Disk(self.template.path.read_bytes())
        for change in self.changes[:moment]:
            disk.change(change)
        return disk


def is_frame(change: Change) -> bool:
    """Whether the change is the header of a frame of the WAL."""
    return change.file == WAL and change.call == b"w" and len(change.content) == FRAME_HEADER


def record(
    template: Template, folder: Path, library: Path, *options: str, program: Program = "flows"
) -> Recorded:
    """Run `ceramic-order run` on a copy of the template."""
    database, changes = template.copy(folder), folder / "changes"
    ended = Children(folder, lambda: library).run(
        database, *options, program=program, faults=Faults(changes=changes)
    )
    assert ended.code == 0, ended
    return Recorded(template, database, list(changes_in(changes.read_bytes())))
