"""Something that is no file where a result is to be written: refused before the work, untouched.

Whoever opens a named pipe waits for its other end, so a command that does hangs.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from socket import AF_UNIX, socket

import pytest

from tests.support.forked import Forks, forks
from tests.support.job import chain, store


def _socket(path: Path) -> None:
    with closing(socket(AF_UNIX)) as bound:
        # the name of a socket has at most 107 bytes
        bound.bind(os.path.relpath(path))


def _link_to_a_pipe(path: Path) -> None:
    pipe = path.with_name("odd.pipe")
    os.mkfifo(pipe)
    path.symlink_to(pipe)


MAKE: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "socket": _socket,
    "device": lambda path: path.symlink_to("/dev/null"),
    "full device": lambda path: path.symlink_to("/dev/full"),
    "link to a pipe": _link_to_a_pipe,
}

PLACES = {
    **{
        f"{command} {option}": ([*line, option, "odd"], "odd")
        for command, line, options in (
            ("run", ["run", "node.db"], ["--report", "--html", "--profile"]),
            ("dry run", ["run", "node.db", "--dry-run"], ["--report", "--html", "--profile"]),
            ("follow", ["run", "node.db", "--follow"], ["--profile"]),
            ("replay", ["replay", "node.db"], ["--out"]),
            ("replay", ["replay", "node.db", "--out", "log"], ["--html"]),
            ("verify", ["verify", "node.db"], ["--report", "--html", "--log", "--baseline"]),
        )
        for option in options
    },
    "synth": (["synth", "odd", "--streams", "2"], "odd"),
    "in a folder": (["synth", "odd/made.db", "--streams", "2"], "odd"),
    **{
        f"{name} of {line[0]}": ([*line, "folder"], f"folder/{name}")
        for line, names in (
            (["run", "node.db", "--report"], ["waiting.parquet", "rejected.parquet"]),
            (["verify", "node.db", "--report"], ["violations.parquet"]),
            (
                ["replay", "node.db", "--overwrite", "--out"],
                ["replay.json", "order-00000.parquet", "waiting.parquet"],
            ),
        )
        for name in names
    },
    **{
        f"the database of {command}": ([command, "odd", *more], "odd")
        for command, more in (
            ("run", []),
            ("replay", ["--out", "log"]),
            ("verify", []),
            ("status", ["--reasons"]),
            ("missing", []),
            ("why", [chain(1)[0].cid.hex()]),
        )
    },
}
"""By name a command line, and what in it is no file."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    folder = tmp_path_factory.mktemp("no-files") / "world"
    folder.mkdir()
    store(folder / "node.db", chain(3))
    with forks(folder) as commands:
        yield commands


def _state(folder: Path) -> dict[str, tuple[int, int, int]]:
    """By name what each thing in a folder is, and whether it is still the same."""
    found = {}
    for path in sorted(folder.rglob("*")):
        info = path.lstat()
        found[str(path.relative_to(folder))] = (info.st_mode, info.st_ino, info.st_size)
    return found


def remove(path: Path) -> None:
    """Remove whatever has this name."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    "kind",
    [kind if kind == "pipe" else pytest.param(kind, marks=pytest.mark.soak) for kind in MAKE],
)
@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_file_is_refused_and_stays_as_it_is(world: Forks, place: str, kind: str) -> None:
    line, name = PLACES[place]
    for earlier in ("odd", "odd.pipe", "folder"):
        remove(world.folder / earlier)
    odd = world.folder / name
    odd.parent.mkdir(exist_ok=True)
    MAKE[kind](odd)
    before = _state(world.folder)
    ended = world.run(line)
    assert ended.code == 2, ended
    assert ended.err.startswith("Error: "), ended
    assert ended.err.count("\n") == 1, ended
    assert " Nothing was " in ended.err, ended
    assert _state(world.folder) == before
