"""What counts as left: init events, and all below a delivered event that is undelivered."""

from pathlib import Path

import pytest
from cbrrr import CID, encode_dag_cbor

from flows.jobs.options import RunOptions
from flows.jobs.run import run
from flows.synth.events import Block, Event, anchor, data_event, init_event
from flows.verify.verify import verify
from tests.support.world import WORLD, change, set_number, store

LENGTH = 1500
"""More than two to the tenth, so that the chain is climbed in eleven rounds."""


def left(path: Path) -> int:
    """How many events are left; nothing else is wrong."""
    verification = verify(path)
    assert verification.failed <= {"nothing-left"}
    (finding,) = (
        finding for finding in verification.findings if finding.rule.name == "nothing-left"
    )
    return finding.violations


def chain(length: int) -> list[Event]:
    events = [init_event(7)]
    for number in range(1, length):
        events.append(data_event(events[0].stream, events[-1].cid, {"n": number}))
    return events


def test_a_long_chain_is_left_as_a_whole(tmp_path: Path) -> None:
    events = chain(LENGTH)
    more = [(event, None) for event in events[:0:-1]]
    assert left(store(tmp_path / "delivered init", more=[*more, (events[0], 1000)])) == LENGTH - 1
    assert left(store(tmp_path / "undelivered init", more=[*more, (events[0], None)])) == LENGTH
    assert left(store(tmp_path / "no init", more=more)) == 0


def test_what_hangs_below_an_event_that_a_node_could_not_serve_waits(tmp_path: Path) -> None:
    events = chain(20)
    events[10] = events[10]._replace(blocks=events[10].blocks[-1:])
    more = [(event, None) for event in events]
    assert left(store(tmp_path / "db", more=more)) == 10


def test_what_hangs_below_an_event_of_another_stream_waits(tmp_path: Path) -> None:
    stranger = data_event(WORLD["unsigned"].stream, WORLD["leaf"].cid, {"n": 1})
    below = data_event(WORLD["unsigned"].stream, stranger.cid, {"n": 2})
    assert left(store(tmp_path / "db", more=[(stranger, None), (below, None)])) == 0


def test_what_hangs_below_a_delivered_event_that_can_not_be_read_waits(tmp_path: Path) -> None:
    parent = data_event(WORLD["init"].stream, WORLD["leaf"].cid, {"n": 1})
    child = data_event(WORLD["init"].stream, parent.cid, {"n": 2})
    damaged = parent._replace(blocks=parent.blocks[-1:])
    assert verify(store(tmp_path / "db", more=[(damaged, 1000), (child, None)])).failed == {
        "block-present"
    }


def anchored(name: bytes, prev: bytes) -> Event:
    """A time event with any CID: its root block does not have the hash it is stored under."""
    proof = anchor([prev], depth=0)[0].proof
    stream = WORLD["init"].stream
    content = encode_dag_cbor(
        {"id": CID(stream.cid), "prev": CID(prev), "proof": CID(proof.cid), "path": ""}
    )
    root = Block(b"\x12\x20" + name * 32, content, 0x71, is_root=True)
    return Event(root.cid, stream, "time", prev, (root, proof))


def test_a_circle_waits_for_itself(tmp_path: Path) -> None:
    cids = [b"\x01\x71\x12\x20" + name * 32 for name in (b"a", b"b", b"c")]
    circle = [anchored(cid[-1:], prev) for cid, prev in zip(cids, [cids[-1], *cids], strict=False)]
    assert [event.cid for event in circle] == cids
    below = data_event(WORLD["init"].stream, cids[0], None)
    database = store(tmp_path / "db", more=[(event, None) for event in [*circle, below]])
    assert left(database) == 0
    assert left(change(database, set_number("leaf", "NULL"))) == 1


@pytest.mark.parametrize(("spare", "can_be_served"), [(0, True), (1, False)])
def test_a_block_is_too_large_for_a_run_and_a_node_alike(
    tmp_path: Path, spare: int, *, can_be_served: bool
) -> None:
    stream, prev = WORLD["init"].stream, WORLD["leaf"].cid
    around = len(data_event(stream, prev, "x" * 70_000).blocks[0].content) - 70_000
    # 36 bytes are for the CID
    event = data_event(stream, prev, "x" * (4 * 1024 * 1024 - 36 - around + spare))
    assert left(store(tmp_path / "db", more=[(event, None)])) == can_be_served
    assert (run(tmp_path / "db", RunOptions()).run_state.delivered == 1) == can_be_served
    failed = verify(store(tmp_path / "served", more=[(event, 1000)])).failed
    assert failed == (set() if can_be_served else {"block-readable"})


SHA_256 = "1220" + 32 * "00"
READABLE = [
    (SHA_256, "85", "0"),
    (SHA_256, "85", "4294967296"),  # a flag has 32 bits
    ("0000", "85", "0"),
    ("1340" + 64 * "00", "85", "0"),
    ("a0e40220" + 32 * "00", "85", "0"),
    (9 * "ff" + "0100", "85", "0"),
]
UNREADABLE = [
    (SHA_256, "'x'", "0"),
    (SHA_256, "-1", "0"),
    (SHA_256, "85", "'x'"),
    (SHA_256[:-2], "85", "0"),
    (SHA_256 + "00", "85", "0"),
    ("1341" + 65 * "00", "85", "0"),  # no digest is so long
    ("12a000" + 32 * "00", "85", "0"),  # numbers that are longer than they need to be
    ("920020" + 32 * "00", "85", "0"),
    (9 * "ff" + "0200", "85", "0"),  # more than 64 bits
    (11 * "80", "85", "0"),
    ("", "85", "0"),
]
"""The multihash, codec and root flag of a row that an event lists and does not need."""


def test_a_row_of_a_list_stops_its_event_in_run_and_verify_alike(tmp_path: Path) -> None:
    stream, prev = WORLD["init"].stream, WORLD["leaf"].cid
    rows = [*READABLE, *UNREADABLE]
    events = [data_event(stream, prev, {"n": number}) for number in range(len(rows))]
    put = (
        "INSERT INTO ceramic_one_event_block (event_cid, block_multihash, codec, root, idx) VALUES "
    )
    put += ", ".join(
        f"(x'{event.cid.hex()}', x'{multihash}', {codec}, {root}, 9)"
        for event, (multihash, codec, root) in zip(events, rows, strict=True)
    )
    left_ones = change(store(tmp_path / "left", more=[(event, None) for event in events]), put)
    assert left(left_ones) == len(READABLE)
    assert run(left_ones, RunOptions()).run_state.delivered == len(READABLE)
    assert left(left_ones) == 0
    numbered = [(event, 1000 + number) for number, event in enumerate(events)]
    verification = verify(change(store(tmp_path / "served", more=numbered), put))
    violations = {finding.rule.name: finding.violations for finding in verification.findings}
    assert verification.failed == {"block-readable", "root-flagged"}
    assert violations["block-readable"] + violations["root-flagged"] == len(UNREADABLE)


def test_a_row_far_from_the_others_of_its_list_is_seen_by_verify_alone(tmp_path: Path) -> None:
    stream, prev = WORLD["init"].stream, WORLD["leaf"].cid
    events = [data_event(stream, prev, {"n": number}) for number in range(3)]
    put = (
        "INSERT INTO ceramic_one_event_block (event_cid, block_multihash, codec, root, idx) "
        f"VALUES (x'{events[0].cid.hex()}', x'{SHA_256}', 'x', 0, 9)"
    )
    path = change(store(tmp_path / "db", more=[(event, None) for event in events]), put)
    # it lies behind the rows of the page's last event, so no range that a run reads holds it
    assert run(path, RunOptions()).run_state.delivered == len(events)
    assert verify(path).failed == {"block-readable"}
