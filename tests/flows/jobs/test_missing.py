"""Missing lists exactly the events that others wait for and that the database does not hold."""

import shutil
from pathlib import Path

import pytest

from flows.jobs.left import left
from flows.jobs.options import RunOptions
from flows.jobs.run import run
from operators.encoding.cid import cid_text, parse_cid
from tests.support.job import chain, store
from tests.support.oracle import read
from tests.support.program import ceramic_order
from tests.support.program import run as run_program
from tests.support.strategies import Forest, check_forests


@pytest.mark.parametrize("databases", [12, pytest.param(300, marks=pytest.mark.soak)])
def test_they_are_the_absent_prevs_of_what_waits_distinct_and_sorted(
    tmp_path: Path, databases: int
) -> None:
    check_forests(check_missing, tmp_path, databases)


def check_missing(forest: Forest, path: Path) -> None:
    """Check that the absent prevs are listed, each once."""
    forest.store(path)
    contents = read(path)
    missing = left(path, RunOptions()).missing
    assert missing == sorted(set(missing))
    waited_for = {
        place.prev
        for cid, place in contents.places.items()
        if contents.numbers[cid] is None
        and cid not in forest.unservable
        and place.prev is not None
        and place.prev not in contents.numbers
    }
    assert set(map(parse_cid, missing)) == waited_for


def test_with_them_everything_can_be_delivered(tmp_path: Path) -> None:
    streams = [chain(9, seed) for seed in range(5)]
    events = [event for stream in streams for event in stream]
    path = store(
        tmp_path / "node.db", [event for at, event in enumerate(events) if at % 9 not in {2, 5}]
    )
    fetched = set(map(parse_cid, left(path, RunOptions()).missing))
    assert fetched == {event.cid for at, event in enumerate(events) if at % 9 in {2, 5}}
    again = store(
        tmp_path / "again.db",
        [event for at, event in enumerate(events) if at % 9 not in {2, 5} or event.cid in fetched],
    )
    assert not run(again, RunOptions()).run_state.reasons


def test_stdout_holds_the_cids_and_nothing_else(tmp_path: Path) -> None:
    stream = chain(9)
    path = store(
        tmp_path / "node.db", [event for at, event in enumerate(stream) if at not in {2, 5}]
    )
    expected = sorted(cid_text(stream[at].cid) for at in (2, 5))
    ended = run_program(ceramic_order("missing", path))
    assert ended.out.splitlines() == expected
    assert ended.err == "2 missing events, for which 5 wait\n"
    assert run_program(ceramic_order("missing", path, "--json")).document == {
        "database": str(path),
        "missing": expected,
    }


def test_without_any_stdout_is_empty(tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(3))
    assert run_program(ceramic_order("missing", path, "--quiet")).out == ""


def test_the_requests_for_them_are_printed_and_nothing_is_sent(tmp_path: Path) -> None:
    stream = chain(5)
    path = store(tmp_path / "node.db", [*stream[:2], *stream[3:]])
    cid = cid_text(stream[2].cid)
    ended = run_program(ceramic_order("missing", path, "--curl", "http://127.0.0.1:1/"))
    expected = (
        f"curl --fail --silent --show-error --output {cid}.json "
        f"http://127.0.0.1:1/ceramic/events/{cid}"
    )
    assert ended.out == f"{expected}\n"
    assert "Nothing was sent." in ended.err
    document = run_program(
        ceramic_order("missing", path, "--curl", "http://127.0.0.1:1", "--json", "--quiet")
    ).document
    assert document["requests"] == [expected]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed here")
def test_the_requests_bring_what_is_at_their_addresses(tmp_path: Path) -> None:
    stream = chain(5)
    path = store(tmp_path / "node.db", [*stream[:2], *stream[3:]])
    cid = cid_text(stream[2].cid)
    # with what a shell takes apart
    place = tmp_path / "a-node's;$HOME" / "ceramic" / "events" / cid
    place.parent.mkdir(parents=True)
    place.write_text('{"id": "", "data": ""}')
    node = f"file://{place.parents[2]}"
    requests = run_program(ceramic_order("missing", path, "--curl", node, "--quiet")).out
    run_program(["sh", "-ec", requests], cwd=tmp_path)
    assert (tmp_path / f"{cid}.json").read_text() == place.read_text()
