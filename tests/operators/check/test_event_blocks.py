"""Any event blocks get one answer: in a batch, alone, read by range or by index."""

from random import Random

import pyarrow as pa
import pytest

from operators.check.batch import NodeCheck
from operators.decode import decode_events
from operators.encoding.event_blocks import NO_CODEC, EventBlock, pack, unpack
from operators.schemas import RAW
from tests.operators.check.test_batch import (
    SERVABLE,
    Case,
    CheckedAlone,
    Stored,
    blocks_of,
    raw_of,
)

OTHERS = (
    b"\x12\x20" + bytes(32),
    b"\x13\x40" + bytes(64),
    b"\x11\x14" + bytes(20),
    b"\x00\x03abc",
    b"\x00\x00",
    b"\x00\x41" + bytes(65),
    b"\x12\x20" + bytes(31),
    b"",
)
"""Multihashes of every length, the last three unreadable."""


def changed(entries: list[EventBlock], rng: Random) -> list[EventBlock]:
    """Event blocks with up to three changes."""
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(entries)) if entries else 0
        one = entries[at] if entries else EventBlock(OTHERS[0], 0x71)
        put = rng.choice(
            [
                [one._replace(codec=rng.choice([0x71, 0x85, 0x55, 0, NO_CODEC]))],
                [one._replace(is_root=not one.is_root)],
                [one._replace(multihash=rng.choice(OTHERS))],
                [one, EventBlock(rng.choice(OTHERS), 0x71)],
                [],
            ]
        )
        entries = entries[:at] + put + entries[at + 1 :]
    return rng.sample(entries, len(entries))


@pytest.mark.parametrize("seed", range(20))
def test_any_event_blocks_get_one_answer(seed: int) -> None:
    rng = Random(seed)
    blocks = blocks_of(SERVABLE)
    rows = raw_of([Case(event) for event in SERVABLE]).to_pylist()
    lists = {row["cid"]: pack(changed(list(unpack(row["event_blocks"])), rng)) for row in rows}
    listed, unlisted = (
        pa.RecordBatch.from_pylist(
            [{**row, "event_blocks": lists[row["cid"]] if near else b""} for row in rows],
            schema=RAW,
        )
        for near in (True, False)
    )

    def complete(cids: pa.Array) -> pa.Array:
        return pa.array([lists[cid] for cid in cids.to_pylist()], pa.binary())

    answers = [
        decode_events(listed, CheckedAlone(Stored(blocks))),
        decode_events(listed, NodeCheck(Stored(blocks))),
        decode_events(listed, NodeCheck(Stored(blocks), complete)),
        decode_events(unlisted, NodeCheck(Stored(blocks), complete)),
    ]
    assert all(answer == answers[0] for answer in answers)
    assert answers[0].rejected.num_rows
