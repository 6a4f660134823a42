"""Parents outside the flow: of a delivered event's stream its blocks decide, not what was noted."""

from contextlib import closing
from pathlib import Path

import pytest

from connectors.sqlite import connect, execute
from flows.jobs.why import why
from flows.synth.events import Event, data_event
from operators.encoding.cid import cid_text
from operators.schemas import Reason
from tests.support.job import chain, deliver, store
from tests.support.program import ceramic_order, run

ONE, OTHER = chain(4, 1), chain(3, 2)


def _noted(path: Path, event: Event, stream: bytes) -> Path:
    with closing(connect(path, "rw")) as connection:
        execute(
            connection,
            f"UPDATE ceramic_one_event SET init_cid = x'{stream.hex()}' "
            f"WHERE cid = x'{event.cid.hex()}'",
        )
    return path


@pytest.mark.parametrize("parent", [0, 1])
def test_a_wrong_note_of_a_delivered_event_does_not_stop_its_children(
    tmp_path: Path, parent: int
) -> None:
    numbers = [at + 1 if at <= parent else None for at in range(len(ONE))]
    path = store(tmp_path / "node.db", [*ONE, OTHER[0]], [*numbers, 9])
    _noted(path, ONE[parent], OTHER[0].cid)
    assert why(path, cid_text(ONE[parent + 1].cid)).verdict == "deliverable"
    assert deliver(path).delivered == len(ONE) - 1 - parent


def test_runs_and_replays_say_for_how_many_parents_note_and_blocks_differ(tmp_path: Path) -> None:
    fork = data_event(ONE[0].stream, ONE[1].cid, "fork")
    events = [*ONE, fork, OTHER[0]]
    path = store(tmp_path / "node.db", events, [1, 2, None, None, None, 9])
    _noted(path, ONE[1], OTHER[0].cid)
    sentence = "For 1 delivered event the column `init_cid` names another stream"
    dry = run(ceramic_order("run", path, "--dry-run", "--json"))
    replayed = run(ceramic_order("replay", path, "--out", tmp_path / "log", "--json"))
    for ended in (dry, replayed):
        assert (ended.document["delivered"], ended.document["wrong_notes"]) == (3, 1)
        assert sentence in ended.err


def test_a_prev_that_is_in_another_stream_by_note_and_blocks_stops_an_event(tmp_path: Path) -> None:
    stray = data_event(ONE[0].stream, OTHER[1].cid, 1)
    path = store(tmp_path / "node.db", [ONE[0], *OTHER[:2], stray], [1, 2, 3, None])
    answer = why(path, cid_text(stray.cid))
    assert (answer.verdict, answer.reason) == ("rejected", Reason.OTHER_STREAM)
    assert deliver(path).reasons == {Reason.OTHER_STREAM: 1}


def test_where_the_blocks_of_a_delivered_event_cannot_be_read_its_note_counts(
    tmp_path: Path,
) -> None:
    broken = ONE[1]._replace(blocks=ONE[1].blocks[-1:])
    path = store(tmp_path / "node.db", [ONE[0], broken, ONE[2]], [1, 2, None])
    _noted(path, broken, OTHER[0].cid)
    answer = why(path, cid_text(ONE[2].cid))
    assert (answer.verdict, answer.reason) == ("rejected", Reason.OTHER_STREAM)
    assert deliver(path).reasons == {Reason.OTHER_STREAM: 1}
