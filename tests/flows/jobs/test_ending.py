"""How flows under `python -m bytewax.run` end: real processes, as Bytewax's users start them."""

from pathlib import Path

import pytest

from tests.support import program
from tests.support.job import chain, store
from tests.support.other_programs import bytes_of, execute_elsewhere, holding
from tests.support.program import Argument, Ended, end, python, read_line, started, write_line

ENDED_EARLY = "Error: The flow ended before its input did: "


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Six undelivered events, of which two wait for one that is missing."""
    folder = tmp_path / "store"
    folder.mkdir()
    orphans = chain(4, 2)
    return store(folder / "node.db", [*chain(5, 1), orphans[0], *orphans[2:]])


def bytewax(flow: str, *options: Argument, code: int = 0) -> Ended:
    """Run a flow to its end with Bytewax's own runner."""
    return program.run(python("-m", "bytewax.run", flow, *options), code=code, traceback=True)


def order_of(path: Path) -> str:
    return f"flows.order:get_flow({str(path)!r})"


def last_line(ended: Ended) -> str:
    return ended.err.splitlines()[-1]


@pytest.mark.parametrize("options", [[], ["-w", "2"]])
def test_a_complete_flow_leaves_one_file_and_says_in_one_line_what_it_did(
    path: Path, options: list[str]
) -> None:
    said = "4 events delivered, numbers 3 to 6; 2 left: 2 prev missing.\n"
    assert bytewax(order_of(path), *options) == Ended(0, "", said)
    assert list(bytes_of(path.parent)) == [path.name]
    assert bytewax(order_of(path)).err == "0 events delivered; 2 left: 2 prev missing.\n"


def flow_in_steps(path: Path) -> list[str]:
    """A process that prints a line and waits when the flow is made, and again when it has run.

    It keeps no other program out.
    """
    return python(
        "-c",
        f"""
import bytewax.run, flows.order
flow = flows.order.get_flow({str(path)!r}, alone=False)
print("made", flush=True)
input()
bytewax.run.cli_main(flow)
print("has run", flush=True)
input()
""",
    )


def test_what_another_program_keeps_in_the_wal_is_said(path: Path) -> None:
    with started(flow_in_steps(path)) as child:
        assert read_line(child) == "made"
        with holding(path, "BEGIN", "SELECT count(*) FROM ceramic_one_event"):
            ended = end(child, given="\n\n")
    assert ended.code == 0, ended
    assert "another program reads the database, so " in ended.err
    assert ended.err.endswith(" bytes stay in its WAL.\n")


def test_a_flow_that_did_not_run_is_not_complete(path: Path) -> None:
    before = bytes_of(path.parent)
    code = f"import flows.order; flow = flows.order.get_flow({str(path)!r})"
    ended = program.run(python("-c", code), code=1)
    assert ended.err.startswith(f"{ENDED_EARLY}`6` events of `{path}` are undelivered and have")
    assert bytes_of(path.parent) == before


def test_events_that_the_flow_did_not_see_make_it_incomplete(path: Path) -> None:
    with started(flow_in_steps(path)) as child:
        assert read_line(child) == "made"
        write_line(child)
        assert read_line(child) == "has run"
        execute_elsewhere(path, "UPDATE ceramic_one_event SET delivered = NULL WHERE rowid = 2")
        ended = end(child, given="\n")
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


def test_a_recovery_store_of_another_database_is_refused_and_nothing_is_changed(
    path: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    program.run(python("-m", "bytewax.recovery", kept, 1))
    recovery = ("-r", kept, "-s", 10, "-b", 0)
    bytewax(order_of(store(tmp_path / "first.db", chain(3))), *recovery)
    before = bytes_of(path.parent)
    replay = f"flows.replay:get_flow({str(path)!r}, {str(tmp_path / 'log')!r})"
    for flow in (order_of(path), replay):
        said = last_line(bytewax(flow, *recovery, code=1))
        assert said.startswith(f"Error: Can't resume reading `{path}` from a recovery store: ")
        assert "Nothing was changed. Run without the recovery store (`-r`)" in said
    assert bytes_of(path.parent) == before
    assert not (tmp_path / "log").exists()
    assert bytewax(order_of(path)).err.startswith("4 events delivered")
