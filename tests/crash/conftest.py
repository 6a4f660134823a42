"""What the trust tests share: databases, children that run `ceramic-order`, and faults.

The job always runs in a child, started as a user starts it. The tests look at the database with the
driver of the product while no child runs; every other program that touches it is a process of its
own.
"""

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from subprocess import PIPE, Popen
from typing import Literal

import pytest

from connectors.scratch import PREFIX
from connectors.sqlite import connect, query, scalar
from flows.synth.database import Order, write_database
from flows.synth.streams import Population
from tests.support.forked import Fork, Forks, forks
from tests.support.oracle import Contents, check, read
from tests.support.program import (
    HANG_SECONDS,
    Ended,
    Environment,
    ceramic_order,
    end,
    kill,
    run,
    start,
)

if sys.platform != "linux":
    # locks, pipes, /proc and what stands between a program and its disk are Linux's here
    collect_ignore_glob = ["test_*.py"]

COMPANIONS = ("-wal", "-shm", "-order-lock")

Numbers = dict[bytes, int]
"""CID to `delivered` of the delivered events."""


@dataclass(frozen=True)
class Template:
    """A database that tests copy, and what it holds."""

    path: Path
    contents: Contents

    def copy(self, folder: Path) -> Path:
        """A fresh copy in `folder`, in place of an earlier one and its companions."""
        path = folder / "node.db"
        for companion in COMPANIONS:
            path.with_name(path.name + companion).unlink(missing_ok=True)
        shutil.copyfile(self.path, path)
        return path


def _template(folder: Path, population: Population, order: Order) -> Template:
    path = folder / "template.db"
    write_database(path, population, order)
    return Template(path, read(path))


LARGE = Population(streams=1200, length=10, forks=0.2, missing=0.002, seed=1)
SMALL = Population(streams=40, length=21, forks=0.2, missing=0.002, delivered_streams=2, seed=2)


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """11,000 undelivered events in CID order, forked, some of them orphaned.

    In small batches they are about a second of work.
    """
    return _template(tmp_path_factory.mktemp("large"), LARGE, "shuffled")


@pytest.fixture(scope="session")
def large_in_order(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """The same events, parents first: what is delivered together lies close together."""
    return _template(tmp_path_factory.mktemp("large-in-order"), LARGE, "parents")


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """800 such events, 50 of them delivered before: two megabytes."""
    return _template(tmp_path_factory.mktemp("small"), SMALL, "shuffled")


@pytest.fixture(scope="session")
def small_in_order(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """These, parents first."""
    return _template(tmp_path_factory.mktemp("small-in-order"), SMALL, "parents")


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> Random:
    """A random generator; its seed is 1 or that of an indirect parameter, and is printed."""
    seed: int = getattr(request, "param", 1)
    print(f"seed {seed}")  # noqa: T201 # pytest shows it with a failure
    return Random(seed)


@dataclass(frozen=True)
class Faults:
    """What goes wrong below SQLite in a child (faults.c says what the fields mean)."""

    effect: Literal["none", "fail", "kill", "hang", "slow"] = "none"
    first: int = 1
    times: int = 0
    calls: Literal["change", "read", "main"] = "change"
    error_number: int = 0
    changes: Path | None = None
    """A file that receives every change."""

    def environment(self, library: Path, database: Path) -> Mapping[str, str]:
        """The variables that make a child suffer."""
        return {"LD_PRELOAD": str(library), **self.variables(database)}

    def variables(self, database: Path) -> Mapping[str, str]:
        """Those of the library."""
        variables = {
            "FAULTS_DATABASE": str(database.resolve()),
            "FAULTS_EFFECT": self.effect,
            "FAULTS_FIRST": str(0 if self.effect == "none" else self.first),
            "FAULTS_TIMES": str(self.times),
            "FAULTS_CALLS": self.calls,
            "FAULTS_ERRNO": str(self.error_number),
        }
        if self.changes is None:
            return variables
        return variables | {"FAULTS_CHANGES": str(self.changes)}


def compiled(source: str, folder: Path) -> Path:
    """A C file of this folder as a library in `folder`, which goes between a program and libc."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("standing between a program and its disk needs a C compiler, `cc`")
    library = (folder / source).with_suffix(".so")
    path = Path(__file__).with_name(source)
    run([compiler, "-O1", "-shared", "-fPIC", "-pthread", "-o", library, path, "-ldl"])
    return library


@pytest.fixture(scope="session")
def faults_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """faults.c, compiled."""
    return compiled("faults.c", tmp_path_factory.mktemp("faults"))


Program = Literal[
    "flows", "tests.crash.miniature", "tests.crash.checkpointing", "tests.crash.in_company"
]
"""The module that a child runs: the program itself, the same with thresholds that fit a database of
a thousandth, that with a checkpoint after each batch, or the program together with others that open
the database."""


def arguments(database: Path, *options: str, program: Program = "flows") -> list[str]:
    """The command line of `ceramic-order run`."""
    return ceramic_order("run", database, *options, module=program)


@dataclass
class Children:
    """Starts children that work in `folder`; those that are left when the test ends are killed."""

    folder: Path
    library: Callable[[], Path]
    started: list[Popen[str]] = field(default_factory=list)

    def start(
        self,
        database: Path,
        *options: str,
        program: Program = "flows",
        faults: Faults | None = None,
        stdout: int = PIPE,
        stderr: int = PIPE,
    ) -> Popen[str]:
        """Start `ceramic-order run` on `database`."""
        environment = {} if faults is None else faults.environment(self.library(), database)
        return self.spawn(
            arguments(database, *options, program=program),
            environment,
            stdout=stdout,
            stderr=stderr,
        )

    def spawn(
        self,
        command: list[str],
        environment: Environment | None = None,
        *,
        stdout: int = PIPE,
        stderr: int = PIPE,
    ) -> Popen[str]:
        """Start any program; where nothing else is said, its streams are pipes."""
        child = start(command, environment=environment, stdout=stdout, stderr=stderr)
        self.started.append(child)
        return child

    def run(
        self,
        database: Path,
        *options: str,
        program: Program = "flows",
        faults: Faults | None = None,
    ) -> Ended:
        """Run `ceramic-order run` on `database` to its end, whatever that is."""
        return end(self.start(database, *options, program=program, faults=faults))


@dataclass(frozen=True)
class Forked:
    """The same for hundreds of children in a row: a process that has loaded the program forks.

    What is left out is what a child does before it has seen its command line.
    """

    folder: Path
    forks: Forks

    def start(
        self,
        database: Path,
        *options: str,
        program: Program = "flows",
        faults: Faults | None = None,
    ) -> Fork:
        """Start `ceramic-order run` on `database`."""
        variables = {} if faults is None else faults.variables(database)
        return self.forks.start(["run", str(database), *options], program, variables)

    def run(
        self,
        database: Path,
        *options: str,
        program: Program = "flows",
        faults: Faults | None = None,
    ) -> Ended:
        """Run `ceramic-order run` on `database` to its end, whatever that is."""
        ended = self.start(database, *options, program=program, faults=faults).end()
        assert "Traceback" not in ended.err, ended.err
        return ended


@pytest.fixture
def forked(tmp_path: Path, faults_library: Path) -> Iterator[Forked]:
    """The forked children of one test."""
    (tmp_path / "home").mkdir()
    with forks(tmp_path / "home", faults_library) as found:
        yield Forked(tmp_path, found)


@pytest.fixture
def children(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Children]:
    """The children of one test."""
    children = Children(tmp_path, lambda: request.getfixturevalue("faults_library"))
    yield children
    for child in children.started:
        kill(child)


def await_wal(child: Popen[str] | Fork, database: Path, size: int) -> bool:
    """Wait until the child's WAL has this size; False if it ended before."""
    wal = database.with_name(database.name + "-wal")
    deadline = time.monotonic() + HANG_SECONDS
    while time.monotonic() < deadline:
        with suppress(FileNotFoundError):
            if wal.stat().st_size >= size:
                return True
        if child.poll() is not None:
            return False
        time.sleep(0.0005)
    raise TimeoutError(f"the WAL did not grow to {size} bytes")


def numbers_of(database: Path) -> Numbers:
    """The numbers in an intact database."""
    with closing(connect(database, "rw")) as connection:
        assert scalar(connection, "PRAGMA integrity_check") == "ok"
        table = query(
            connection,
            "SELECT cid, delivered FROM ceramic_one_event"
            " WHERE delivered IS NOT NULL ORDER BY delivered",
        )
    return dict(zip(table["cid"].to_pylist(), table["delivered"].to_pylist(), strict=True))


def check_stopped(before: Contents, database: Path, earlier: Numbers | None = None) -> Numbers:
    """Hold a run that was stopped anywhere to its promises; the numbers as they are now.

    Args:
        before: the database before the first run.
        database: as it is now.
        earlier: its numbers after an earlier stop.
    """
    now = numbers_of(database)
    check_numbers(before, now, earlier)
    return now


def check_numbers(before: Contents, now: Numbers, earlier: Numbers | None = None) -> None:
    """Check that these are numbers of whole batches.

    Rows are written by rowid, numbers are given by the order of the streams: half a batch would
    leave gaps between its numbers.
    """
    highest = before.highest
    old = {cid: number for cid, number in before.numbers.items() if number is not None} | (
        earlier or {}
    )
    assert {cid: now.get(cid) for cid in old} == old, "an old number was changed"
    new = {cid: number for cid, number in now.items() if before.numbers[cid] is None}
    assert list(new.values()) == list(range(highest + 1, highest + 1 + len(new))), (
        "part of a batch was kept"
    )
    for cid, number in new.items():
        prev = before.places[cid].prev
        assert prev is None or now[prev] < number, "an event was delivered before its parent"


def check_rerun(before: Contents, database: Path, children: Children | Forked) -> None:
    """The same command again finishes the job, and the oracle accepts the result.

    Nothing that an earlier run left stays next to the database.
    """
    again = children.run(database)
    assert again.code == 0, again
    assert [file.name for file in database.parent.glob(f"{database.name}*")] == [database.name]
    assert not list(database.parent.glob(f"{PREFIX}*"))
    assert scalar_of(database, "PRAGMA integrity_check") == "ok"
    check(before, read(database))


def scalar_of(database: Path, sql: str) -> object:
    """The first value that a statement returns."""
    with closing(connect(database, "rw")) as connection:
        return scalar(connection, sql)
