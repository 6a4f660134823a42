"""What events that were left wait for, against a plain reading of the rules."""

from random import Random

import numpy as np
import pyarrow as pa
import pytest

from operators.awaited import READ, Awaited, Rowids, read_entries
from operators.encoding.columns import hashes
from operators.schemas import LEFT, Reason

NOTHING = np.empty(0, np.int64)
NONE_READ = np.empty(0, READ)


def cid(name: int | str) -> bytes:
    return f"event number {name}".encode()


Left = tuple[int, Reason, int | None, int | None]


def left(*events: Left) -> pa.RecordBatch:
    """Events of schema LEFT: the rowid, which is their name too, reason, prev and cause."""
    rows = [
        {
            "rowid": rowid,
            "cid": cid(rowid),
            "stream": None,
            "prev": None if prev is None else cid(prev),
            "reason": str(reason),
            "cause": None if cause is None else cid(cause),
        }
        for rowid, reason, prev, cause in events
    ]
    return pa.RecordBatch.from_pylist(rows, schema=LEFT)


def rowids(*numbers: int) -> Rowids:
    return np.array(sorted(numbers), dtype=np.int64)


def end_round(awaited: Awaited, *read: int) -> list[int]:
    """End a round in which these events were read; who was woken by it."""
    columns = pa.array(sorted(read), pa.int64()), pa.array(map(cid, sorted(read)), pa.binary())
    found = awaited.end_round(rowids(*read), read_entries(*columns) if read else NONE_READ)
    return [int(rowid) for rowid in found]


def test_who_is_delivered_wakes_all_below_it() -> None:
    awaited = Awaited(100)
    awaited.append(left((3, Reason.PREV_MISSING, 2, 1), (2, Reason.PREV_MISSING, 1, 1)))
    assert end_round(awaited, 2, 3) == []
    assert end_round(awaited, 1) == [2, 3]
    assert end_round(awaited, 2, 3) == []
    assert len(awaited) == 0


def test_a_parent_that_comes_and_waits_hands_its_children_on() -> None:
    awaited = Awaited(100)
    awaited.append(left((3, Reason.PREV_MISSING, 2, 2)))
    assert end_round(awaited, 3) == []
    awaited.append(left((2, Reason.PREV_MISSING, 1, 1)))
    assert end_round(awaited, 2) == []
    # a child of one that waits; the flow only knows that its prev is not delivered
    awaited.append(left((4, Reason.PREV_REJECTED, 3, 3)))
    assert end_round(awaited, 4) == []
    assert awaited.counts() == {Reason.PREV_MISSING: 3}
    assert end_round(awaited, 1) == [2, 3, 4]


def test_below_a_rejected_event_all_wait_for_it() -> None:
    awaited = Awaited(100)
    awaited.append(left((3, Reason.PREV_MISSING, 2, 2)))
    assert end_round(awaited, 3) == []
    awaited.append(left((2, Reason.ROOT_MISSING, None, None)))
    assert end_round(awaited, 2) == []
    assert awaited.counts() == {Reason.PREV_REJECTED: 1, Reason.ROOT_MISSING: 1}
    assert awaited.has_rejected()
    assert awaited.rejected(hashes(pa.array([cid(2), cid(3), cid(9)]))).tolist() == [2]
    # it can be read now, and waits
    awaited.append(left((2, Reason.PREV_MISSING, 1, 1)))
    assert end_round(awaited, 2) == []
    assert awaited.counts() == {Reason.PREV_MISSING: 2}
    assert not awaited.has_rejected()
    assert end_round(awaited, 1) == [2, 3]


def test_who_was_asked_for_and_is_gone_is_forgotten() -> None:
    awaited = Awaited(100)
    awaited.append(left((3, Reason.PREV_MISSING, 2, 2), (5, Reason.PREV_MISSING, 4, 4)))
    end_round(awaited, 3, 5)
    assert awaited.end_round(rowids(3), NONE_READ).tolist() == []
    assert awaited.known(rowids(1, 3, 5)).tolist() == [5]
    assert awaited.differences(rowids(5, 7)).tolist() == [7]
    assert awaited.differences(rowids(7)).tolist() == [5, 7]


def test_beyond_the_limit_nothing_is_kept() -> None:
    awaited = Awaited(2)
    awaited.append(left((1, Reason.PREV_MISSING, 0, 0), (2, Reason.PREV_MISSING, 0, 0)))
    assert not awaited.is_full
    awaited.append(left((3, Reason.PREV_MISSING, 0, 0)))
    assert awaited.is_full
    assert end_round(awaited, 1, 2, 3) == []
    assert len(awaited) == 0
    awaited.clear()
    assert not awaited.is_full


class Forest:
    """Events with one parent each, who come bit by bit; event 0 is delivered from the start."""

    def __init__(self, rng: Random) -> None:
        self.parent = {event: rng.randrange(event) for event in range(1, rng.randrange(2, 60))}
        self.unreadable = {event for event in self.parent if rng.random() < 0.2}
        self.come: set[int] = set()
        self.delivered = {0}
        self.awaited = Awaited(1000)

    def deliver(self, events: set[int]) -> None:
        """Check these, and those that are woken by that."""
        while events:
            found = [reason for event in sorted(events) if (reason := self._why(event, events))]
            self.awaited.append(left(*found))
            self.delivered |= events - {event for event, *_ in found}
            events = set(end_round(self.awaited, *events))

    def _why(self, event: int, events: set[int]) -> Left | None:
        """Why a flow that reads `events` leaves one of them; of others it knows who is there."""
        if event in self.unreadable:
            return event, Reason.NOT_DAG_CBOR, None, None
        top = event
        while top in events - self.unreadable:
            top = self.parent[top]
        if top in self.delivered:
            return None
        reason = Reason.PREV_REJECTED if top in self.come else Reason.PREV_MISSING
        return event, reason, self.parent[event], top

    def mend(self, events: set[int]) -> None:
        """Make some readable, and check those that were rejected."""
        self.unreadable -= events
        keys = hashes(pa.array(map(cid, events), pa.binary()))
        self.deliver({int(rowid) for rowid in self.awaited.rejected(keys)})


@pytest.mark.parametrize("seed", range(50))
def test_events_of_a_forest_that_come_in_any_order_are_all_woken(seed: int) -> None:
    rng = Random(seed)
    forest = Forest(rng)
    order = [*forest.parent]
    rng.shuffle(order)
    while order:
        few = rng.randrange(1, 9)
        some, order = set(order[:few]), order[few:]
        forest.come |= some
        forest.deliver(some)
        forest.mend({event for event in forest.parent if rng.random() < 0.1})
        waiting = {int(rowid) for rowid in forest.awaited.after(0, 1000)}
        assert waiting == forest.come - forest.delivered
    forest.mend({*forest.parent})
    assert forest.delivered == {0, *forest.parent}
    assert len(forest.awaited) == 0
