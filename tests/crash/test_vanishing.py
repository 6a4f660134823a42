"""Files and folders that are removed, renamed or replaced while a command is at work.

It ends with one sentence and exit code 2 or 3, or its whole result is there.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from signal import SIGCONT, SIGSTOP
from subprocess import Popen

import pytest

from tests.crash.conftest import (
    Children,
    Template,
    await_wal,
    check_rerun,
    check_stopped,
    scalar_of,
)
from tests.support.oracle import check, read
from tests.support.other_programs import leave_a_wal
from tests.support.program import HANG_SECONDS, Ended, ceramic_order, end, start

MANY_BATCHES = ("--batch-rows", "100", "--quiet")
SOME_BYTES = 100_000
"""How large the WAL is when something vanishes."""


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _rename(path: Path) -> None:
    path.rename(path.with_name(f"{path.name}.elsewhere"))


def _replace(path: Path) -> None:
    is_folder = path.is_dir()
    _rename(path)
    path.touch() if is_folder else path.write_bytes(b"")


DOES: dict[str, Callable[[Path], None]] = {
    "removed": _remove,
    "renamed": _rename,
    "replaced": _replace,
}


@pytest.mark.parametrize(
    ("suffixes", "does"),
    [
        (["-wal"], "removed"),
        *(
            pytest.param(suffixes, does, marks=pytest.mark.soak)
            for suffixes, does in (
                (["-wal"], "renamed"),
                (["-wal"], "replaced"),
                (["-wal", "-shm"], "removed"),
            )
        ),
    ],
)
def test_a_wal_that_vanishes_is_brought_into_the_database_and_reported(
    large: Template, children: Children, suffixes: list[str], does: str
) -> None:
    database = large.copy(children.folder)
    child = children.start(database, *MANY_BATCHES)
    assert await_wal(child, database, SOME_BYTES)
    child.send_signal(SIGSTOP)
    for suffix in suffixes:
        DOES[does](database.with_name(database.name + suffix))
    child.send_signal(SIGCONT)
    ended = end(child)
    assert ended.code == 3, ended
    assert f"`{database}-wal` is no longer the file that this run writes to" in ended.err
    assert "What it held is in the database." in ended.err
    for left in database.parent.glob("*.elsewhere"):
        left.unlink()
    new = len(check_stopped(large.contents, database)) - large.contents.highest
    assert ended.kept() == new > 0
    check_rerun(large.contents, database, children)


def test_the_shared_memory_of_a_run_may_vanish(large: Template, children: Children) -> None:
    database = large.copy(children.folder)
    child = children.start(database, *MANY_BATCHES)
    assert await_wal(child, database, SOME_BYTES)
    database.with_name(database.name + "-shm").unlink()
    assert end(child).code == 0
    assert scalar_of(database, "PRAGMA integrity_check") == "ok"
    check(large.contents, read(database))


@dataclass(frozen=True)
class World:
    """A database, and folders that may vanish."""

    folder: Path

    @property
    def database(self) -> Path:
        """Its file."""
        return self.folder / "data" / "node.db"

    def start(self, line: list[str]) -> Popen[str]:
        """A command in a folder of its own; `@` stands for the folder of all."""
        command = [part.replace("@", str(self.folder)) for part in line]
        environment = {"TMPDIR": str(self.folder / "tmp"), "PYTHONPATH": str(Path.cwd())}
        cwd = self.folder / "cwd"
        return start(ceramic_order(*command), environment=environment, cwd=cwd)

    def results(self, line: list[str]) -> Iterator[Path]:
        """What a command makes."""
        files = {"--report": ["waiting.parquet"], "--out": ["replay.json", "order-00000.parquet"]}
        files = {**files, "--html": [""], "--profile": [""]}
        for option, value in pairwise(line):
            for name in files.get(option, []):
                of_verify = line[0] == "verify" and option == "--report"
                file = "violations.parquet" if of_verify else name
                yield Path(value.replace("@", str(self.folder))) / file


def _made(small: Template, folder: Path) -> World:
    for name in ("data", "out", "pages", "profiles", "tmp", "cwd"):
        (folder / name).mkdir(parents=True)
    small.copy(folder / "data")
    return World(folder)


@pytest.fixture
def worlds(small: Template, tmp_path: Path) -> Iterator[World]:
    """One anew for each attempt: on a busy machine a command may be over too soon."""
    return (_made(small, tmp_path / str(attempt)) for attempt in range(5))


DATABASE = "@/data/node.db"
PAGE = ["--html", "@/pages/page.html"]
EVENT = "bagcqceraplay"
LINES: dict[str, list[str]] = {
    "run": ["run", DATABASE, "--report", "@/out/x", *PAGE, "--profile", "@/profiles/p.json"],
    "dry run": ["run", DATABASE, "--dry-run", "--report", "@/out/x", *PAGE],
    "replay": ["replay", DATABASE, "--out", "@/out/x", *PAGE],
    "verify": ["verify", DATABASE, "--report", "@/out/x", *PAGE],
    "status": ["status", DATABASE, "--reasons"],
    "missing": ["missing", DATABASE],
    "why": ["why", DATABASE, EVENT],
}
VANISH = ["data/node.db", "data", "out", "out/x", "pages", "profiles", "tmp", "cwd"]


def _has_open(child: Popen[str], path: Path) -> bool:
    with suppress(OSError):
        for descriptor in Path(f"/proc/{child.pid}/fd").iterdir():
            with suppress(OSError):
                if descriptor.readlink() == path:
                    return True
    return False


def _hold(
    world: World, line: list[str], path: str, does: str, delay: float, *, has_wal: bool = False
) -> Ended | None:
    """Let something vanish from a command; None: it was not there, or the command was over."""
    line = [_an_event(world) if part == EVENT else part for part in line]
    if has_wal:
        leave_a_wal(world.database)
    child = world.start(line)
    deadline = time.monotonic() + HANG_SECONDS
    while not _has_open(child, world.database) and child.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(delay)
    child.send_signal(SIGSTOP)
    was_running, there = child.poll() is None, (world.folder / path).exists()
    if there:
        DOES[does](world.folder / path)
    child.send_signal(SIGCONT)
    ended = end(child)
    if not (was_running and there):
        return None
    assert ended.code in {0, 1, 2, 3}, ended
    if ended.code in {2, 3}:
        assert ended.err.splitlines()[-1].startswith("Error: "), ended
    else:
        gone = world.folder / path
        for result in world.results(line):
            assert result.exists() or gone in result.parents, ended
        assert not ended.err.startswith("Error"), ended
    return ended


def _an_event(world: World) -> str:
    cid = scalar_of(
        world.database, "SELECT hex(cid) FROM ceramic_one_event WHERE delivered IS NULL LIMIT 1"
    )
    return str(cid).lower()


@pytest.mark.parametrize(
    ("name", "path", "does", "words"),
    [
        ("replay", "data/node.db", "removed", "was changed by another process while it was read"),
        ("status", "data", "replaced", "was changed by another process while it was read"),
        ("verify", "data/node.db", "replaced", "was changed"),
        ("run", "out", "removed", "Can't write the report in "),
        ("run", "pages", "removed", "Can't write a page to "),
        ("dry run", "tmp", "replaced", "A temporary folder was removed while it was used"),
    ],
)
def test_what_vanishes_is_named_with_an_exit_code(
    worlds: Iterator[World], name: str, path: str, does: str, words: str
) -> None:
    tries = (_hold(world, LINES[name], path, does, 0) for world in worlds)
    ended = next(ended for ended in tries if ended is not None and ended.code)
    assert ended.code == 3, ended
    assert words in ended.err, ended
    assert "defect" not in ended.err
    assert "allocate" not in ended.err


@pytest.mark.parametrize("name", ["run", "replay"])
def test_the_current_folder_may_vanish(worlds: Iterator[World], name: str) -> None:
    world, ended = next(
        (world, ended)
        for world in worlds
        if (ended := _hold(world, LINES[name], "cwd", "removed", 0)) is not None
    )
    assert ended.code == 0, ended
    assert all(result.exists() for result in world.results(LINES[name]))


def test_the_shared_memory_of_a_left_wal_is_missed_by_what_only_reads(
    worlds: Iterator[World],
) -> None:
    line, shm = LINES["dry run"], "data/node.db-shm"
    tries = (_hold(world, line, shm, "removed", 0, has_wal=True) for world in worlds)
    ended = next(ended for ended in tries if ended is not None and ended.code)
    assert ended.code == 3, ended
    assert "was changed by another process while it was read" in ended.err


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", LINES)
def test_whatever_vanishes_whenever_ends_with_a_sentence(
    small: Template, tmp_path: Path, name: str, seed: int
) -> None:
    rng = Random(f"{name} {seed}")
    for number, path in enumerate([*VANISH, "data/node.db-wal", "data/node.db-shm"]):
        for does in DOES:
            folder = tmp_path / f"{number}-{does}"
            world = _made(small, folder)
            has_wal = name != "run" and path.startswith("data/node.db")
            delay = rng.uniform(0, 0.6)
            print(name, path, does, delay)  # noqa: T201 # pytest shows it with a failure
            _hold(world, LINES[name], path, does, delay, has_wal=has_wal)
            shutil.rmtree(folder)
