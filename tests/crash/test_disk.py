"""A disk that is full or fails: a sentence says what is kept, and a rerun finishes the job."""

import errno
import re
import resource
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from functools import partial
from itertools import cycle, product
from pathlib import Path
from random import Random
from typing import Literal

import pytest

from connectors.errors import InterruptedRunError
from connectors.sqlite import connect, execute, sqlite_errors
from tests.crash.conftest import (
    Children,
    Faults,
    Forked,
    Template,
    check_rerun,
    check_stopped,
)
from tests.crash.recorded import MAIN, record
from tests.support.job import chain, store
from tests.support.oracle import Contents, check, read
from tests.support.program import Ended, can, ceramic_order, python, run

OPTIONS = ("--batch-rows", "40", "--quiet")
"""Such a run creates its files by its 10th change of them, commits its last batch after the
1,000th, and then makes a checkpoint."""
CHANGES = 1170
READS = 520
"""It makes somewhat more of each."""


def _check_ended(before: Contents, database: Path, ended: Ended) -> None:
    """A run on a bad disk said truly what it left."""
    kept = len(check_stopped(before, database)) - sum(
        number is not None for number in before.numbers.values()
    )
    match ended.code:
        case 0:
            check(before, read(database))
        case 2:
            # what another program left in the WAL may be in the file now
            assert re.search("Nothing was changed|No number was given", ended.err), ended.err
            assert kept == 0
        case 3:
            assert ended.kept() == kept, ended.err
            assert "defect" not in ended.err, ended.err
        case _:
            pytest.fail(str(ended))


def _check_faults(
    small: Template, children: Children | Forked, faults: Iterable[Faults]
) -> set[int]:
    """Let each of these faults hit a run; the exit codes that occurred."""
    codes = set()
    for fault in faults:
        print(fault)  # noqa: T201 # pytest shows it with a failure
        database = small.copy(children.folder)
        ended = children.run(database, *OPTIONS, faults=fault)
        _check_ended(small.contents, database, ended)
        check_rerun(small.contents, database, children)
        codes.add(ended.code)
    return codes


def _faults(calls: Literal["change", "read"], moments: Iterable[int]) -> Iterator[Faults]:
    """Each call fails once or for ever, as on a full disk (never while reading) or a broken one."""
    kinds = cycle(product((0, 1), (errno.EIO,) if calls == "read" else (errno.ENOSPC, errno.EIO)))
    for moment, (times, error_number) in zip(moments, kinds, strict=False):
        yield Faults("fail", first=moment, times=times, calls=calls, error_number=error_number)


def test_a_write_that_fails_leaves_whole_batches_is_reported(
    small: Template, children: Children, rng: Random
) -> None:
    starting, writing = [1, 5], rng.sample(range(30, 1000), 3)
    assert _check_faults(small, children, _faults("change", starting)) == {2}
    assert _check_faults(small, children, _faults("change", writing)) == {3}


def test_a_checkpoint_that_fails_is_reported_and_loses_nothing(
    small: Template, children: Children, faults_library: Path, tmp_path: Path
) -> None:
    (tmp_path / "recorded").mkdir()
    recorded = record(small, tmp_path / "recorded", faults_library, *OPTIONS)
    checkpointed = [
        at
        for at, change in enumerate(recorded.changes)
        if change.file == MAIN and at > recorded.commits[-1]
    ]
    # a fault counts some more changes than these, of other files
    for fault in _faults("change", checkpointed[len(checkpointed) // 3 :: 8][:2]):
        database = small.copy(children.folder)
        ended = children.run(database, *OPTIONS, faults=fault)
        assert (ended.code, "Checkpointing" in ended.err) == (3, True), ended
        # a fault that has passed is none for the last connection that is closed
        assert database.with_name(f"{database.name}-wal").exists() == (fault.times == 0)
        assert ended.kept() == len(check(small.contents, read(database)))
        check_rerun(small.contents, database, children)


def test_a_read_that_fails_leaves_whole_batches_is_reported(
    small: Template, children: Children, rng: Random
) -> None:
    assert _check_faults(
        small, children, _faults("read", [1, 8, *rng.sample(range(30, 500), 3)])
    ) >= {2, 3}


@pytest.mark.soak
@pytest.mark.parametrize("rng", range(10, 14), indirect=True)
def test_every_call_fails(small: Template, forked: Forked, rng: Random) -> None:
    changes = [*range(1, 60), *rng.sample(range(60, CHANGES), 200)]
    assert _check_faults(small, forked, _faults("change", changes)) >= {2, 3}
    reads = [*range(1, 60), *rng.sample(range(60, READS), 100)]
    assert _check_faults(small, forked, _faults("read", reads)) >= {2, 3}


class SmallDisk:
    """A file system in memory that holds so many bytes, and files, and can be made larger."""

    def __init__(self, folder: Path, size: int, files: int | None = None) -> None:
        self.folder = folder
        folder.mkdir()
        options = f"size={size}" + ("" if files is None else f",nr_inodes={files + 1}")
        if not can("mount", "-t", "tmpfs", "-o", options, "tmpfs", folder):
            pytest.skip("only root may mount a small file system")

    def enlarge(self, size: int) -> None:
        """Make room."""
        run(["mount", "-o", f"remount,size={size}", self.folder])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[..., SmallDisk]]:
    """Make a small disk of so many bytes and files; it is gone after the test."""
    folder = tmp_path / "disk"
    yield partial(SmallDisk, folder)
    if folder.is_mount():
        run(["umount", "--lazy", folder], code=None)


@pytest.mark.parametrize("spare", [0, 400_000])
def test_a_full_disk_leaves_whole_batches_and_a_rerun_finishes_when_there_is_room(
    small: Template, children: Children, small_disk: Callable[..., SmallDisk], spare: int
) -> None:
    size = small.path.stat().st_size
    disk = small_disk(size + spare)
    database = small.copy(disk.folder)
    ended = children.run(database, *OPTIONS)
    assert ended.code in {2, 3}, ended
    disk.enlarge(4 * size)
    _check_ended(small.contents, database, ended)
    check_rerun(small.contents, database, children)


LEAVE_A_WAL = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA wal_autocheckpoint=0")
connection.execute("CREATE TABLE filler (content)")
connection.execute("INSERT INTO filler VALUES (zeroblob(400000))")
os._exit(0)
"""


def test_a_disk_without_room_for_what_a_killed_program_left_in_the_wal_is_reported_as_full(
    small: Template, children: Children, small_disk: Callable[..., SmallDisk]
) -> None:
    elsewhere = small.copy(children.folder)
    run(python("-c", LEAVE_A_WAL, elsewhere))
    expected = read(elsewhere)
    size = small.path.stat().st_size
    disk = small_disk(size + 600_000)
    database = small.copy(disk.folder)
    run(python("-c", LEAVE_A_WAL, database))
    with suppress(OSError), (disk.folder / "other").open("wb", buffering=0) as other:
        while other.write(bytes(4096)):
            pass
    wal = database.with_name("node.db-wal")
    before = wal.read_bytes()
    ended = children.run(database, *OPTIONS)
    assert ended.code == 2, ended
    assert f"Can't bring `node.db-wal` into `{database}`: database or disk is full" in ended.err
    assert "is kept and belongs to the database" in ended.err
    assert "not complete" not in ended.err
    assert wal.read_bytes() == before
    disk.enlarge(4 * size)
    check_rerun(expected, database, children)


def test_a_report_on_a_full_disk_is_reported_and_leaves_whole_batches(
    small: Template, children: Children, small_disk: Callable[..., SmallDisk]
) -> None:
    database, disk = small.copy(children.folder), small_disk(4096)
    ended = children.run(database, *OPTIONS, "--report", str(disk.folder / "report"))
    assert ended.code == 3, ended
    assert "No space left on device" in ended.err
    _check_ended(small.contents, database, ended)
    check_rerun(small.contents, database, children)


@pytest.mark.parametrize("size", [4096, 16384])
@pytest.mark.parametrize("command", [["run", "--report"], ["replay", "--out"]])
def test_a_disk_that_is_full_midway_ends_a_report_or_a_log_with_a_sentence(
    children: Children, small_disk: Callable[..., SmallDisk], command: list[str], size: int
) -> None:
    events = chain(600)
    database = store(children.folder / "node.db", events[:1] + events[2:])
    name, option = command
    folder = small_disk(size).folder / "made"
    ended = run(ceramic_order(name, database, option, folder, "--quiet"), code=3)
    assert "No space left on device" in ended.err
    assert not folder.exists()


def test_a_wal_that_may_not_grow_further_leaves_whole_batches(
    small: Template, children: Children
) -> None:
    database = small.copy(children.folder)
    limits = {resource.RLIMIT_FSIZE: 1_000_000}
    ended = run(ceramic_order("run", database, *OPTIONS), code=3, limits=limits)
    _check_ended(small.contents, database, ended)
    check_rerun(small.contents, database, children)


def test_a_file_system_that_became_read_only_is_a_reason_with_advice(small: Template) -> None:
    # SQLite has the same words for a connection that may only read
    with (
        closing(connect(small.path)) as connection,
        pytest.raises(InterruptedRunError) as raised,
        sqlite_errors("Writing failed", advice=None),
    ):
        execute(connection, "UPDATE ceramic_one_event SET delivered = 1")
    assert "readonly database; its file system may be read-only by now" in str(raised.value)
    assert str(raised.value).endswith("Check the disk and `PRAGMA integrity_check`.")


def test_a_full_scratch_disk_is_reported_loses_nothing_and_a_rerun_finishes(
    small: Template, children: Children, small_disk: Callable[..., SmallDisk]
) -> None:
    database, disk = small.copy(children.folder), small_disk(131_072)
    command = ceramic_order("run", database, *OPTIONS, module="tests.crash.miniature")
    ended = run(command, code=3, environment={"TMPDIR": str(disk.folder)})
    assert f"in `{disk.folder}/ceramic-order-" in ended.err
    assert "No space left on device" in ended.err
    assert "Make room there" in ended.err
    assert list(disk.folder.iterdir()) == []
    _check_ended(small.contents, database, ended)
    check_rerun(small.contents, database, children)


@pytest.mark.parametrize("files", [1, 2, 3])
def test_a_disk_that_takes_no_more_files_is_reported_and_nothing_is_left(
    small: Template, small_disk: Callable[..., SmallDisk], files: int
) -> None:
    disk = small_disk(4 * small.path.stat().st_size, files)
    database = small.copy(disk.folder)
    ended = run(ceramic_order("run", database), code=2)
    assert "Nothing was changed." in ended.err
    assert "No space left on device" in ended.err or "`df -i`" in ended.err
    assert [path.name for path in disk.folder.iterdir()] == [database.name]
    database.unlink()
    run(ceramic_order("synth", disk.folder / "made.db", "--streams", 2), code=None)
    for made in disk.folder.glob("made.db*"):
        made.unlink()
    assert [*disk.folder.iterdir()] == []


def test_a_flow_under_bytewax_that_has_no_room_for_its_wal_does_not_start(
    small: Template, small_disk: Callable[..., SmallDisk]
) -> None:
    disk = small_disk(small.path.stat().st_size + 100_000)
    path = small.copy(disk.folder)
    ended = run(python("-m", "bytewax.run", f"flows.order:get_flow({str(path)!r})"), code=2)
    assert ended.err.startswith(f"Error: The disk of `{path}` has `")
    assert "too little for the WAL" in ended.err
    assert ended.err.endswith("Nothing was changed. Make room on that disk.\n")
    assert path.read_bytes() == small.path.read_bytes()
