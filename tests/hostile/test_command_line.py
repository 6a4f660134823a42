"""Any command line: no traceback, a documented exit code, and on 2 nothing has changed."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from socket import AF_UNIX, socket

import click
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from connectors.sqlite import connect, execute
from flows.cli.main import COMMANDS
from flows.synth.events import Event
from operators.encoding.cid import cid_text
from tests.support.forked import Forks, forks
from tests.support.job import chain, store
from tests.support.other_programs import leave_a_wal

FEW, MANY = 20, 4_000
"""Command lines: a second for the few, some minutes for the many."""

CODES = {0, 1, 2, 3}
"""Exit codes that a command line may lead to; 70 would be a defect."""

EVENTS: tuple[Event, ...] = chain(5)

NAMES = [
    *("node.db", "copy.db", "old.db", "folder", "folder/node.db", "log", "report", "page.html"),
    *("empty", "text", "fifo", "loop", "dangling", "linked.db", "linked", "read-only", "missing"),
    *(
        "node.db/",
        "text/",
        "./node.db",
        "../world/node.db",
        "folder/../node.db",
        "loop/x",
        "fifo/x",
    ),
    *("text/node.db", "missing/node.db", "folder/new", "linked/new", "", ".", "..", "~", "-"),
    *("--", "-x", "file:node.db", "file:node.db?mode=memory", ":memory:", "node.db?mode=ro"),
    *("node.db#x", "node%2edb", "node.db%00", "%", "*", "[a]", "a=b", "a:b", "s3://a/b", "o*.db"),
    *("line\nfeed", "tab\tname", "\x1b[31mred", "\u202ename", "\u00fc", "\udcff"),
    *("'quoted'", '"quoted"', ";", "$HOME", "`id`", "a" * 255, "a" * 256, "d/" * 300 + "x"),
    *("x" * 5000, " ", "CON", "node.db-wal", "node.db-order-lock", "log/replay.json"),
    *("order-00000.parquet", "waiting.parquet", "violations.parquet", "folder/"),
    *(
        "hard.db",
        "twin.db",
        "socket",
        "large.db",
        "killed.db",
        "wide.db",
        "node.db-shm",
        "node.db-journal",
    ),
    *("ceramic-order-left", "ceramic-order-left/x", "/proc", "/proc/self/fd/0", "/proc/nowhere/x"),
    *("node.db/../node.db", ".//node.db", "\u00fc.db", "u\u0308.db", "NODE.DB"),
]
"""Names of files: that are there, that are not, and that mean something to somebody."""

VALUES = [
    *("0", "1", "3", "-1", "+2", "1e3", "1_000", " 1", "\u0663", "NaN", "inf", "0.5", "1.5", ""),
    *("10" * 20, "600MB", "1KB", "0MB", "1 GB", "9" * 30 + "GB", "node", "links", "json", "text"),
    *("512MB", "512mb", "600MiB", "1e9", "0x10", "1GB ", "-1GB", "nan", "1" * 5000, "\u00bd"),
    *("shuffled", "127.0.0.1:0", "localhost:x", ":::1", "[::1]:0", "99999", "-5", "a,b", "bafy"),
    *(cid_text(EVENTS[2].cid), EVENTS[2].cid.hex(), cid_text(EVENTS[2].cid).upper(), "0x"),
]
"""Values of options, and names of events."""

SPARSE_BYTES = 4 << 40
"""The length of a file that takes no room, and of which nothing may read much."""

NOT_FOR_OUTPUT = ["/dev/null", "/dev/full", "/dev/stdin", "/proc/self/mem", "/proc/self/environ"]

READERS = {"status", "why", "missing", "verify"}
"""Commands that write nothing but what an option names."""

SMALL = {"run": ["--partitions", "2"]}
"""Options by which a command is over soon."""

AT_MOST = {"synth": ["--streams", "2", "--length", "3"]}
"""Options at the end of a command: of two values the last one counts. `synth` makes as many events
as it is asked for, until the disk is full."""


ENDLESS = {"follows"}
"""Options with which a command goes on until a signal ends it."""


def _options(name: str) -> list[click.Option]:
    command: click.Command = import_module(f"flows.cli.{name}").command
    options = [one for one in command.params if isinstance(one, click.Option)]
    return [one for one in options if one.name not in ENDLESS]


OPTIONS = {name: _options(name) for name in COMMANDS}

_names = st.sampled_from(NAMES)
_any = _names | st.sampled_from(VALUES) | st.text(max_size=5)


def _values(option: click.Option) -> st.SearchStrategy[str]:
    """Values that an option may take, or at least of their type."""
    if isinstance(option.type, click.Choice):
        return st.sampled_from([*option.type.choices])
    if isinstance(option.type, click.Path):
        return _names
    return st.sampled_from(["1", "2", "0.5", "1GB", "127.0.0.1:0", *VALUES])


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A command, and what may follow it: mostly options that it has, with values of their type."""
    name = draw(st.sampled_from([*COMMANDS]))
    line = [name, *SMALL.get(name, [])]
    if name in READERS and not draw(st.integers(0, 9)):
        line.append(draw(st.sampled_from(NOT_FOR_OUTPUT)))
    else:
        line.append(draw(st.sampled_from(["node.db", "copy.db", "linked.db"]) | _names))
    if name == "why":
        line.append(draw(st.sampled_from(VALUES)))
    if name == "replay":
        line += ["--out", draw(_names)]
    for _ in range(draw(st.integers(0, 3))):
        option = draw(st.sampled_from(OPTIONS[name]))
        line.append(draw(st.sampled_from(option.opts)))
        if not option.is_flag:
            line.append(draw(_values(option) if draw(st.integers(0, 4)) else _any))
    line += AT_MOST.get(name, [])
    if not draw(st.integers(0, 9)):
        line.insert(draw(st.integers(0, len(line))), draw(_any))
    return [part.replace("\0", "") for part in line]


def _make_world(folder: Path) -> None:
    """The folder that commands work in, anew."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    store(folder / "node.db", [*EVENTS[:2], *EVENTS[3:]])
    shutil.copy(folder / "node.db", folder / "copy.db")
    shutil.copy(folder / "node.db", folder / "old.db")
    with closing(connect(folder / "old.db", "rw")) as connection:
        execute(connection, "PRAGMA journal_mode=DELETE")
    for name in ("folder", "log", "report"):
        (folder / name).mkdir()
    shutil.copy(folder / "node.db", folder / "folder" / "node.db")
    (folder / "empty").touch()
    (folder / "text").write_text("some text\n" * 1000)
    (folder / "page.html").write_text("a page of somebody's")
    (folder / "report" / "waiting.parquet").write_text("no report")
    os.mkfifo(folder / "fifo")
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("nowhere/at/all")
    (folder / "linked.db").symlink_to("node.db")
    (folder / "linked").symlink_to("folder")
    shutil.copy(folder / "node.db", folder / "twin.db")
    os.link(folder / "twin.db", folder / "hard.db")
    with closing(socket(AF_UNIX)) as bound:
        bound.bind(os.path.relpath(folder / "socket"))
    shutil.copy(folder / "node.db", folder / "large.db")
    os.truncate(folder / "large.db", SPARSE_BYTES)
    shutil.copy(folder / "node.db", folder / "killed.db")
    leave_a_wal(folder / "killed.db")
    shutil.copy(folder / "old.db", folder / "wide.db")
    with closing(connect(folder / "wide.db", "rw")) as connection:
        for pragma in ("page_size=65536", "auto_vacuum=2"):
            execute(connection, f"PRAGMA {pragma}")
        execute(connection, "VACUUM")
        execute(connection, "PRAGMA journal_mode=WAL")
    (folder / "ceramic-order-left").mkdir()
    (folder / "ceramic-order-left" / "notes").write_text("of a user")
    (folder / "read-only").write_text("text")
    (folder / "read-only").chmod(0o444)


def state(folder: Path) -> dict[str, object]:
    """Everything in a folder: kinds, rights and contents, by name."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        content: object = None
        if stat.S_ISREG(mode):
            size = path.stat().st_size
            content = size if size == SPARSE_BYTES else path.read_bytes()
        elif stat.S_ISLNK(mode):
            content = path.readlink()
        found[str(path.relative_to(folder))] = (mode, content)
    return found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Forks]:
    folder = tmp_path / "world"
    _make_world(folder)
    with forks(folder) as commands:
        yield commands


def _hold(world: Forks, line: list[str]) -> None:
    before = state(world.folder)
    ended = world.run(line)
    reported = f"{line!r}: {ended.code}\n{ended.out[-500:]}\n{ended.err[-1500:]}"
    assert ended.code in CODES, reported
    assert "Traceback" not in ended.out + ended.err, reported
    after = state(world.folder)
    if ended.code == 2:
        assert ended.err.startswith("Error: ") or '"event": "error"' in ended.err, reported
        assert after == before, reported
    if after != before:
        # those of 0, 1 and 3 may change what they were asked to
        assert {"text", "read-only", "fifo", "old.db"} & before.keys() <= after.keys(), reported
        for name in ("text", "page.html", "empty", "read-only", "report/waiting.parquet"):
            asked_for = any(part.rstrip("/") in {name, f"./{name}"} for part in line)
            assert asked_for or after[name] == before[name], reported
        _make_world(world.folder)


def _settings(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@seed(1)
@_settings(FEW)
@given(line=command_lines())
def test_any_command_line_ends_with_a_sentence_and_a_documented_code(
    world: Forks, line: list[str]
) -> None:
    _hold(world, line)


@pytest.mark.soak
@_settings(MANY)
@given(line=command_lines())
def test_thousands_of_command_lines_end_with_a_sentence_and_a_documented_code(
    world: Forks, line: list[str]
) -> None:
    _hold(world, line)
