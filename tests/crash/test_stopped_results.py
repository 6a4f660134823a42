"""A signal at any moment leaves whole results or none, and earlier ones as they were."""

import json
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from signal import SIGHUP, SIGINT, SIGQUIT, SIGTERM, Signals
from socket import create_connection, create_server

import pyarrow.parquet as pq
import pytest

from connectors.scratch import PREFIX
from tests.crash.conftest import Template, check_stopped
from tests.crash.test_signals import _listens
from tests.support.other_programs import leave_a_wal
from tests.support.program import Ended, ceramic_order, end, run, start

STOPS = [SIGTERM, SIGHUP, SIGINT, SIGQUIT]

REPORT, PAGE = ["--report", "@/out/x"], ["--html", "@/pages/page.html"]
PROFILE = ["--profile", "@/profiles/p.json"]
DATABASE = "@/data/node.db"
LINES: dict[str, list[str]] = {
    "run": ["run", DATABASE, "--batch-rows", "100", *REPORT, *PAGE, *PROFILE],
    "dry run": ["run", DATABASE, "--dry-run", *REPORT, *PAGE, *PROFILE],
    "replay": ["replay", DATABASE, "--out", "@/out/x", "--overwrite", *PAGE],
    "verify": ["verify", DATABASE, *REPORT, *PAGE],
    "status": ["status", DATABASE, "--reasons"],
    "missing": ["missing", DATABASE],
    "synth": ["synth", "@/out/made.db", "--streams", "3000"],
}
FOLDERS = ("data", "out", "pages", "profiles", "tmp", "cwd")


@dataclass(frozen=True)
class World:
    """A database, and folders for results and all else that a command makes."""

    folder: Path
    earlier: Path | None
    """Where earlier results lie; None: there are none."""

    def prepare(self, template: Template, *, has_wal: bool) -> None:
        """Make all anew."""
        if self.folder.exists():
            shutil.rmtree(self.folder)
        for name in FOLDERS:
            (self.folder / name).mkdir(parents=True)
        template.copy(self.folder / "data")
        if has_wal:
            leave_a_wal(self.folder / "data" / "node.db")
        if self.earlier is not None:
            shutil.copytree(self.earlier, self.folder, dirs_exist_ok=True)

    def line(self, name: str) -> list[str]:
        """A command line in this world."""
        return ceramic_order(*[part.replace("@", str(self.folder)) for part in LINES[name]])

    @property
    def environment(self) -> Mapping[str, str]:
        """What a command gets."""
        return {"TMPDIR": str(self.folder / "tmp"), "PYTHONPATH": str(Path.cwd())}

    def results(self) -> dict[str, bytes]:
        """By name all files of results."""
        return {
            str(file.relative_to(self.folder)): file.read_bytes()
            for name in ("out", "pages", "profiles")
            for file in (self.folder / name).rglob("*")
            if file.is_file()
        }


def _hold(world: World, template: Template, name: str, stop: Signals, delay: float) -> bool:
    """Stop a command after so many seconds; False: it had ended."""
    world.prepare(template, has_wal=name in {"status", "replay", "verify"})
    before = world.results()
    child = start(world.line(name), environment=world.environment, cwd=world.folder / "cwd")
    while not _listens(child) and child.poll() is None:
        time.sleep(0.001)
    time.sleep(delay)
    child.send_signal(stop)
    ended = end(child)
    is_done = ended.code in {0, 1}
    if not is_done:
        assert ended.code == 128 + stop, ended
        stopped = [line for line in ended.err.splitlines() if line.startswith("Stopped by")]
        assert len(stopped) == 1, ended
        assert ended.err.endswith(f"{stopped[0]}\n"), ended
        assert "Error" not in ended.err, ended
    _check_left(world, template, name, ended, before)
    return not is_done


def _check_left(
    world: World, template: Template, name: str, ended: Ended, before: Mapping[str, bytes]
) -> None:
    """Check that nothing half made is left, and what there was before is there or replaced."""
    left = [
        path for path in world.folder.rglob(f"{PREFIX}*") if "The new log is whole" not in ended.err
    ]
    assert left == [], ended
    assert list((world.folder / "cwd").iterdir()) == []
    assert list((world.folder / "tmp").iterdir()) == []
    empty = [
        path
        for path in (world.folder / "out").rglob("*")
        if path.is_dir() and not list(path.iterdir())
    ]
    assert empty == [], ended
    after = world.results()
    for file, content in after.items():
        if before.get(file) == content:
            continue
        whole = world.folder / file
        match whole.suffix:
            case ".parquet":
                pq.read_table(whole)
            case ".json":
                json.loads(content)
            case ".html":
                assert content.rstrip().endswith(b"</html>")
    assert name == "replay" or before.keys() <= after.keys(), ended
    of_report = {file for file in after if file.startswith("out/x/") and "order" not in file}
    assert len(of_report) in {0, 1 if name == "verify" else 3 if name == "replay" else 2}, ended
    if name == "run":
        check_stopped(template.contents, world.folder / "data" / "node.db")
    else:
        files = {path.name for path in (world.folder / "data").iterdir()}
        assert files <= {"node.db", "node.db-wal", "node.db-shm"}


class Earlier:
    """By command a folder with its results, as they are before a later one."""

    def __init__(self, template: Template, folder: Path) -> None:
        self._template, self._folder = template, folder

    def of(self, name: str) -> Path | None:
        """The folder; None where a command makes nothing that may be there already."""
        if name not in {"run", "dry run", "replay", "verify"}:
            return None
        made = World(self._folder / name.replace("dry run", "run"), None)
        if not made.folder.exists():
            made.prepare(self._template, has_wal=False)
            run(made.line(name), code=None, environment=made.environment)
            for folder in ("data", "tmp", "cwd"):
                shutil.rmtree(made.folder / folder)
        return made.folder


@pytest.fixture(scope="module")
def earlier(small: Template, tmp_path_factory: pytest.TempPathFactory) -> Earlier:
    return Earlier(small, tmp_path_factory.mktemp("earlier"))


def _seconds(world: World, template: Template, name: str) -> float:
    """How long a command takes, once it listens to signals."""
    world.prepare(template, has_wal=False)
    child = start(world.line(name), environment=world.environment, cwd=world.folder / "cwd")
    while not _listens(child) and child.poll() is None:
        time.sleep(0.001)
    started = time.monotonic()
    end(child)
    return time.monotonic() - started


@pytest.mark.parametrize("name", LINES)
def test_a_signal_leaves_whole_results_or_those_of_before(
    small: Template, tmp_path: Path, earlier: Earlier, name: str
) -> None:
    rng = Random(name)
    world = World(tmp_path / "world", earlier.of(name) if name == "run" else None)
    stop, delay = rng.choice(STOPS), rng.uniform(0, 1)
    print(stop.name, delay)  # noqa: T201 # pytest shows it with a failure
    _hold(world, small, name, stop, delay)


@pytest.mark.soak
@pytest.mark.parametrize("rng", [2, 3], indirect=True)
@pytest.mark.parametrize("name", LINES)
def test_signals_at_many_moments_leave_whole_results_or_those_of_before(
    small: Template, tmp_path: Path, earlier: Earlier, name: str, rng: Random
) -> None:
    seconds = _seconds(World(tmp_path / "world", None), small, name)
    midway = 0
    for _ in range(30):
        world = World(tmp_path / "world", earlier.of(name) if rng.random() < 0.5 else None)
        stop, delay = rng.choice(STOPS), rng.uniform(0, seconds)
        print(stop.name, delay)  # noqa: T201 # pytest shows it with a failure
        midway += _hold(world, small, name, stop, delay)
    assert midway > 0


@pytest.mark.parametrize("stop", [SIGTERM, SIGHUP])
def test_a_signal_closes_the_port_of_the_metrics(
    large: Template, tmp_path: Path, stop: Signals
) -> None:
    database = large.copy(tmp_path)
    with create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
    metrics = f"{address[0]}:{address[1]}"
    child = start(ceramic_order("run", database, "--batch-rows", 20, "--metrics", metrics))
    while child.poll() is None:
        with suppress(OSError), create_connection(address):
            break
    child.send_signal(stop)
    assert end(child).code == 128 + stop
    with pytest.raises(ConnectionRefusedError), create_connection(address):
        pass
