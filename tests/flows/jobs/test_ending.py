"""How flows under `python -m bytewax.run` end: real processes, as Bytewax's users start them."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from connectors.sqlite import connect, scalar
from tests.support import program
from tests.support.job import chain, store
from tests.support.other_programs import bytes_of
from tests.support.program import Argument, Ended, python

ROOT_OF_CIDS = """
    SELECT rootpage FROM sqlite_master JOIN pragma_index_info(sqlite_master.name) AS column
    WHERE type = 'index' AND tbl_name = 'ceramic_one_event' AND column.name = 'cid'
"""
"""The page at the top of the index by which parents are looked up."""

ENDED_EARLY = "Error: The flow ended before its input did: "


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Six undelivered events, of which two wait for one that is missing."""
    folder = tmp_path / "store"
    folder.mkdir()
    orphans = chain(4, 2)
    return store(folder / "node.db", [*chain(5, 1), orphans[0], *orphans[2:]])


def bytewax(flow: str, *options: Argument, code: int = 0) -> Ended:
    """Run a flow to its end with Bytewax's own runner; it shows one line at most."""
    ended = program.run(python("-m", "bytewax.run", flow, *options), code=code)
    assert len(ended.err.splitlines()) <= 1, ended
    return ended


def order_of(path: Path, options: str = "") -> str:
    return f"flows.order:get_flow({str(path)!r}{options})"


def replay_of(path: Path, out: Path) -> str:
    return f"flows.replay:get_flow({str(path)!r}, {str(out)!r})"


@pytest.mark.parametrize("options", [[], ["-w", "2"]])
def test_a_complete_flow_leaves_one_file_and_says_in_one_line_what_it_did(
    path: Path, options: list[str]
) -> None:
    said = "4 events delivered, numbers 3 to 6; 2 left: 2 prev missing.\n"
    assert bytewax(order_of(path), *options) == Ended(0, "", said)
    assert list(bytes_of(path.parent)) == [path.name]
    assert bytewax(order_of(path)).err == "0 events delivered; 2 left: 2 prev missing.\n"


def flow_with(path: Path, *, before: str = "", after: str = "") -> Ended:
    """Run a flow in a process that executes SQL itself, since no other may open the database."""
    code = f"""
import bytewax.run, flows.order
from connectors.sqlite import connect
from pathlib import Path
flow = flows.order.get_flow({str(path)!r})
other = connect(Path({str(path)!r}), "rw")
cursor = other.cursor()
for sql in {before.split("; ")!r}:
    cursor.execute(sql).fetchall()
bytewax.run.cli_main(flow)
for sql in {after.split("; ")!r}:
    cursor.execute(sql).fetchall()
"""
    return program.run(python("-c", code), code=None)


def test_what_a_reader_keeps_in_the_wal_is_said(path: Path) -> None:
    ended = flow_with(
        path, before="BEGIN; SELECT count(*) FROM ceramic_one_event", after="SELECT 1"
    )
    assert ended.code == 0, ended
    assert "another program reads the database, so " in ended.err
    assert ended.err.endswith(" bytes stay in its WAL.\n")


def test_a_flow_that_did_not_run_is_not_complete(path: Path) -> None:
    before = bytes_of(path.parent)
    code = f"import flows.order; flow = flows.order.get_flow({str(path)!r})"
    ended = program.run(python("-c", code), code=1)
    assert ended.err.startswith(f"{ENDED_EARLY}`0` events were read, `0` delivered, `0` left")
    assert bytes_of(path.parent) == before


def test_events_that_the_flow_did_not_see_make_it_incomplete(path: Path) -> None:
    undelivered = "UPDATE ceramic_one_event SET delivered = NULL WHERE rowid = 2"
    ended = flow_with(path, before="SELECT 1", after=undelivered)
    assert ended.code == 1, ended
    assert "`1` more events are undelivered in " in ended.err
    assert "`4` events in `1` whole batch are delivered and kept." in ended.err


def test_a_replay_that_did_not_run_leaves_no_log(path: Path, tmp_path: Path) -> None:
    before = bytes_of(path.parent)
    arguments = f"{str(path)!r}, {str(tmp_path / 'log')!r}"
    code = f"import flows.replay; flow = flows.replay.get_flow({arguments})"
    ended = program.run(python("-c", code), code=1)
    assert ended.err.startswith(f"{ENDED_EARLY}`0` events were read, `0` delivered, `0` left")
    assert ended.err.endswith(
        "Nothing was changed. Run the same command again to finish the job.\n"
    )
    assert bytes_of(path.parent) == before
    assert not (tmp_path / "log").exists()


def test_what_can_not_start_says_so_in_one_sentence(path: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing.db"
    recovery = ("-r", tmp_path, "-s", 10, "-b", 0)
    refused: list[tuple[str, Sequence[Argument], str]] = [
        (order_of(missing), (), f"Can't open `{missing}`: No such file or directory. Nothing was "),
        (replay_of(path, path.parent), (), f"`{path.parent}` is the folder of the snapshot itself"),
        (order_of(path, ", part=1"), (), "`get_flow` can't be called like this: got an unexpected"),
        (order_of(path), ("-w", 0), "`0` workers (`-w`) are none that could work: each process"),
        (order_of(path), recovery, f"Can't use the recovery store `{tmp_path}`: what is undeliv"),
        (replay_of(path, tmp_path / "log"), recovery, "Can't use the recovery store "),
    ]
    before = bytes_of(path.parent)
    for flow, options, said in refused:
        assert bytewax(flow, *options, code=2).err.startswith(f"Error: {said}")
    assert bytes_of(path.parent) == before
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("options", [[], ["-w", "2"]])
def test_a_step_that_fails_says_so_in_one_sentence(path: Path, options: list[str]) -> None:
    with closing(connect(path)) as connection:
        page = scalar(connection, ROOT_OF_CIDS)
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(bytes(4096))
    said = bytewax(order_of(path), *options, code=1).err
    assert said.startswith(f"Error: Looking up in `{path}` failed: database disk image is malfor")
    assert "`0` events in `0` whole batches are delivered and kept." in said


def test_bytewax_opens_no_port_and_writes_no_file_unless_asked(path: Path, tmp_path: Path) -> None:
    runner = python("-m", "bytewax.run", order_of(path))
    places = {"PYTHONPATH": str(program.ROOT), "BYTEWAX_DATAFLOW_API_PORT": "1"}
    not_asked = {**places, "BYTEWAX_DATAFLOW_API_ENABLED": "0"}
    program.run(runner, environment=not_asked, cwd=tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["store"]
    asked = {**places, "BYTEWAX_DATAFLOW_API_ENABLED": "1"}
    program.run(runner, environment=asked, cwd=tmp_path, code=None)
    assert (tmp_path / "dataflow.json").exists()


def test_a_replay_under_bytewax_spills_to_a_folder_that_goes(path: Path, tmp_path: Path) -> None:
    assert "The log is in " in bytewax(replay_of(path, tmp_path / "log"), "-w", 2).err
    names = [file.name for file in (tmp_path / "log").iterdir()]
    assert "replay.json" in names
    assert not [name for name in names if name.startswith(".")]
