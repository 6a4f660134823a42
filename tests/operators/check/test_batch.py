"""The node check: each thing that a node needs to serve an event, taken away or spoilt."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from cbrrr import CID, DagCborTypes, decode_dag_cbor, encode_dag_cbor
from libipld import encode_cid
from numpy.typing import NDArray

from flows.synth.events import (
    Block,
    Event,
    Witness,
    anchor,
    block,
    build_event,
    capability,
    data_event,
    init_event,
    time_event,
)
from operators.check.batch import CheckedBatch, NodeCheck
from operators.decode import decode_events
from operators.encoding.columns import Mask
from operators.encoding.envelope import payload_multihash
from operators.encoding.event_blocks import EventBlock, pack
from operators.encoding.layouts import Places, joined_places
from operators.schemas import BLOCKS, RAW, Reason

INIT = init_event(1)
CAP = capability("did:pkh:eip155:1:0x0", 1)
CHANGE = data_event(INIT.stream, INIT.cid, 1)
PREV = data_event(INIT.stream, INIT.cid, 2).cid
WITNESS = anchor([PREV, CHANGE.cid, INIT.cid], depth=2)[0]
ALONE = time_event(INIT.stream, PREV)
ANCHORED = time_event(INIT.stream, PREV, WITNESS)
WITH_CAP = data_event(INIT.stream, INIT.cid, 3, cap=CAP)
SERVABLE = (
    INIT,
    init_event(2, signed=False),
    init_event(3, cap=CAP),
    CHANGE,
    WITH_CAP,
    data_event(INIT.stream, PREV, "long " * 5000, cap=CAP, header={"a": 1}),
    ALONE,
    ANCHORED,
    *(
        time_event(INIT.stream, PREV, witness)
        for witness in anchor([CHANGE.cid] * 5 + [PREV], depth=10)[-1:]
    ),
)


@dataclass
class Stored:
    """Blocks of a database; counts what is fetched."""

    blocks: dict[bytes, bytes]
    fetched: list[bytes] = field(default_factory=list)

    def __call__(self, multihashes: pa.Array) -> Iterator[dict[bytes, bytes]]:
        """Those blocks that are there, some at a time."""
        wanted = multihashes.to_pylist()
        assert len(set(wanted)) == len(wanted)
        self.fetched += wanted
        for some in (wanted[::2], wanted[1::2]):
            yield {key: self.blocks[key] for key in some if key in self.blocks}


class Case(NamedTuple):
    """An event as a database holds it."""

    event: Event
    unlisted: Sequence[Block] = ()


def blocks_of(events: Sequence[Event]) -> dict[bytes, bytes]:
    return {one.multihash: one.content for event in events for one in event.blocks}


def packed(blocks: Iterable[Block]) -> bytes:
    """The event blocks, as the source hands them over."""
    return pack(EventBlock(one.multihash, one.codec, one.is_root) for one in blocks)


def raw_of(cases: Sequence[Case], blocks: dict[bytes, bytes] | None = None) -> pa.RecordBatch:
    """The events as the source reads them; `blocks` may hold more than theirs."""
    blocks = blocks or blocks_of([case.event for case in cases])
    rows = []
    for rowid, (event, unlisted) in enumerate(cases):
        root = blocks[next(one.multihash for one in event.blocks if one.is_root)]
        payload = blocks.get(payload_multihash(root) or b"", b"")
        rows.append(
            {
                "rowid": rowid,
                "cid": event.cid,
                "root": root,
                "payload": payload,
                "order_key": event.order_key,
                "event_blocks": packed(one for one in event.blocks if one not in unlisted),
            }
        )
    return pa.RecordBatch.from_pylist(rows, schema=RAW)


class CheckedAlone(NodeCheck):
    """Checks each event for itself, without the way for those that are alike."""

    def check(  # noqa: D102 # as that of its class
        self,
        raw: pa.RecordBatch,
        other_blocks: pa.Table,
        kind: NDArray[np.int8],
        plain: Mask,
        times: Places,  # noqa: ARG002
    ) -> CheckedBatch:
        return super().check(raw, other_blocks, kind, np.zeros_like(plain), joined_places([]))


def reasons_of(cases: Sequence[Case], stored: Stored | None = None) -> list[str | None]:
    """For each of a batch of events why it is rejected, None if it is not."""
    stored = stored or Stored({})
    stored.blocks |= blocks_of([case.event for case in cases])
    raw = raw_of(cases, stored.blocks)
    alone = decode_events(raw, CheckedAlone(Stored(stored.blocks)))
    decoded = decode_events(raw, NodeCheck(stored))
    assert decoded == alone
    rejected = dict(
        zip(
            decoded.rejected["rowid"].to_pylist(),
            decoded.rejected["reason"].to_pylist(),
            strict=True,
        )
    )
    assert decoded.links["rowid"].to_pylist() == [
        rowid for rowid in range(len(cases)) if rowid not in rejected
    ]
    return [rejected.get(rowid) for rowid in range(len(cases))]


def without(event: Event, *lost: Block) -> Event:
    return event._replace(blocks=tuple(one for one in event.blocks if one not in lost))


def named(protected: bytes | None, **extra: DagCborTypes) -> Event:
    """A change whose signature has this protected header, or none."""
    payload = CHANGE.blocks[0]
    signature: DagCborTypes = (
        {"signature": bytes(64)}
        if protected is None
        else {"protected": protected, "signature": bytes(64)}
    )
    fields: dict[str, DagCborTypes] = {"payload": payload.cid, "signatures": [signature], **extra}
    return build_event(
        INIT.stream, "data", INIT.cid, (payload, block(encode_dag_cbor(fields), 0x85, is_root=True))
    )


def with_capability(spoil: Callable[[dict[str, dict[str, DagCborTypes]]], object]) -> Event:
    """A change that is signed through a capability which has been spoilt."""
    fields = decode_dag_cbor(CAP.block.content)
    assert isinstance(fields, dict)
    spoil(fields)  # type: ignore[arg-type] # a capability is a map of maps
    return data_event(
        INIT.stream, INIT.cid, 4, cap=CAP._replace(block=block(encode_dag_cbor(fields)))
    )


def with_proof(content: bytes, path: str = "") -> Event:
    return time_event(INIT.stream, PREV, Witness(block(content), path, ()))


def proof(**put: DagCborTypes) -> bytes:
    fields: dict[str, DagCborTypes] = {
        "root": CID(PREV),
        "txHash": CID(PREV),
        "txType": "t",
        "chainId": "c",
    }
    return encode_dag_cbor(
        {name: value for name, value in (fields | put).items() if value is not None}
    )


def through(node: bytes, path: str) -> Event:
    """An anchor of PREV by way of one witness node."""
    root = block(node)
    return time_event(INIT.stream, PREV, Witness(block(proof(root=CID(root.cid))), path, (root,)))


PAIR = encode_dag_cbor([CID(INIT.cid), CID(PREV)])
FULL_NAME = f'{{"cap":"ipfs://{encode_cid(CAP.block.cid)}"}}'.encode()


def test_whole_events_are_served() -> None:
    assert reasons_of([Case(event) for event in SERVABLE]) == [None] * len(SERVABLE)
    for event in SERVABLE:
        assert reasons_of([Case(event)]) == [None]


@pytest.mark.parametrize("event", SERVABLE)
def test_each_block_of_an_event_must_be_listed_for_it(event: Event) -> None:
    for one in event.blocks:
        assert reasons_of([Case(event, [one]), Case(ALONE)]) == [Reason.NOT_LISTED, None]


def test_an_event_without_the_listing_of_any_block_is_not_served() -> None:
    for event in SERVABLE:
        assert reasons_of([Case(event, event.blocks)]) == [Reason.NOT_LISTED]


UNSERVED = {
    "no signature": (
        build_event(
            INIT.stream,
            "data",
            INIT.cid,
            (
                CHANGE.blocks[0],
                block(
                    encode_dag_cbor({"payload": CHANGE.blocks[0].cid, "signatures": []}),
                    0x85,
                    is_root=True,
                ),
            ),
        ),
        Reason.SIGNATURES_EMPTY,
    ),
    "capability not there": (without(WITH_CAP, WITH_CAP.blocks[0]), Reason.CAPABILITY_MISSING),
    "capability of a long name": (
        named(b'{"c\\u0061p":"ipfs://bafkqaaa"}'),
        Reason.CAPABILITY_MISSING,
    ),
    "capability without a part": (
        with_capability(lambda fields: fields.pop("s")),
        Reason.CAPABILITY_UNREADABLE,
    ),
    "capability without a domain": (
        with_capability(lambda fields: fields["p"].pop("domain")),
        Reason.CAPABILITY_UNREADABLE,
    ),
    "capability whose nonce is a number": (
        with_capability(lambda fields: fields["p"].update(nonce=1)),
        Reason.CAPABILITY_UNREADABLE,
    ),
    "capability whose head is a list": (
        with_capability(lambda fields: fields.update(h=[])),  # type: ignore[call-overload]
        Reason.CAPABILITY_UNREADABLE,
    ),
    "proof not there": (without(ALONE, ALONE.blocks[1]), Reason.PROOF_MISSING),
    "proof is no DAG-CBOR": (with_proof(b"\xff"), Reason.PROOF_UNREADABLE),
    "proof is a list": (with_proof(b"\x80"), Reason.PROOF_UNREADABLE),
    "proof without a root": (with_proof(proof(root=None)), Reason.PROOF_UNREADABLE),
    "proof whose root is no link": (with_proof(proof(root=PREV)), Reason.PROOF_UNREADABLE),
    "proof whose transaction is no link": (with_proof(proof(txHash=b"t")), Reason.PROOF_UNREADABLE),
    "proof without a type": (with_proof(proof(txType=None)), Reason.PROOF_UNREADABLE),
    "proof whose chain is a number": (with_proof(proof(chainId=1)), Reason.PROOF_UNREADABLE),
    "root is another event, and no path": (
        with_proof(proof(root=CID(INIT.cid))),
        Reason.WITNESS_PATH,
    ),
    "upper node not there": (without(ANCHORED, ANCHORED.blocks[2]), Reason.WITNESS_MISSING),
    "lower node not there": (without(ANCHORED, ANCHORED.blocks[3]), Reason.WITNESS_MISSING),
    "node is a map": (through(encode_dag_cbor({}), "0"), Reason.WITNESS_UNREADABLE),
    "node is no DAG-CBOR": (through(b"\xff", "0"), Reason.WITNESS_UNREADABLE),
    "path leads to another event": (through(PAIR, "0"), Reason.WITNESS_PATH),
    "path leads out of the list": (through(PAIR, "2"), Reason.WITNESS_PATH),
    "path is negative": (through(PAIR, "-1"), Reason.WITNESS_PATH),
    "path is no number": (through(PAIR, "x"), Reason.WITNESS_PATH),
    "path goes on behind prev": (through(PAIR, "1/"), Reason.WITNESS_MISSING),
    "path leads to no link": (through(encode_dag_cbor([1, CID(PREV)]), "0"), Reason.WITNESS_PATH),
    "path leads to the bytes of prev": (through(encode_dag_cbor([PREV]), "0"), Reason.WITNESS_PATH),
    "path ends early": (
        time_event(INIT.stream, PREV, WITNESS._replace(path=WITNESS.path[:1])),
        Reason.WITNESS_PATH,
    ),
}


@pytest.mark.parametrize("case", UNSERVED)
def test_what_a_node_could_not_serve_is_rejected_with_its_reason(case: str) -> None:
    event, reason = UNSERVED[case]
    assert reasons_of([Case(event)]) == [reason]
    assert reasons_of(
        [Case(ALONE if event.kind == "data" else CHANGE), Case(event), Case(INIT)]
    ) == [None, reason, None]


@pytest.mark.parametrize(
    "event",
    [
        named(None),
        named(b""),
        named(b"no JSON"),
        named(b"[]"),
        named(b'"cap"'),
        named(b'{"cap":"ipfs://nonsense"}'),
        named(b'{"cap":5}'),
        named(b'{"cap2":1,"note":"\\"cap\\""}'),
        named(b"{" * 5000),
        named(b"{}", link=CID(INIT.cid)),
        through(PAIR, "1"),
        through(encode_dag_cbor([None, None, CID(PREV)]), "2"),
        with_proof(proof(more=1)),
        with_capability(lambda fields: fields["p"].update(more=1)),
    ],
)
def test_what_has_all_it_needs_is_served(event: Event) -> None:
    assert reasons_of([Case(event)]) == [None]


def test_a_capability_is_found_however_it_is_named() -> None:
    for header in (
        FULL_NAME,
        FULL_NAME.replace(b"cap", b"c\\u0061p"),
        b"  " + FULL_NAME.replace(b":", b" : ", 1),
        FULL_NAME * 1,
    ):
        event = named(header)
        listing_it = event._replace(blocks=(*event.blocks, CAP.block))
        assert reasons_of([Case(listing_it)]) == [None]
        assert reasons_of([Case(event)], Stored({CAP.block.multihash: CAP.block.content})) == [
            Reason.NOT_LISTED
        ]


def test_blocks_that_events_share_are_fetched_once() -> None:
    witnesses = anchor([data_event(INIT.stream, INIT.cid, n).cid for n in range(40)], depth=6)
    prevs = [data_event(INIT.stream, INIT.cid, n).cid for n in range(40)]
    events = [
        time_event(INIT.stream, prev, witness)
        for prev, witness in zip(prevs, witnesses, strict=True)
    ]
    events += [data_event(INIT.stream, INIT.cid, n, cap=CAP) for n in range(40)]
    stored = Stored({})
    assert reasons_of([Case(event) for event in events], stored) == [None] * 80
    assert len(set(stored.fetched)) == len(stored.fetched)


def test_events_in_the_usual_form_are_not_looked_at_alone() -> None:
    events = [
        data_event(INIT.stream, INIT.cid, n, cap=cap, header={"a": 1} if n % 2 else None)
        for n in range(4)
        for cap in (None, CAP)
    ]
    events += [INIT, time_event(INIT.stream, PREV)]
    events += [
        time_event(INIT.stream, PREV, way)
        for way in anchor([CHANGE.cid] * 5 + [PREV], depth=10)[-1:]
    ]
    check = NodeCheck(Stored(blocks_of(events)))
    decoded = decode_events(raw_of([Case(event) for event in events]), check)
    assert (decoded.links.num_rows, check.alone) == (len(events), 0)


def test_blocks_that_lie_next_to_the_events_are_not_fetched() -> None:
    check = NodeCheck(fetched := Stored({}))
    shared = {one.multihash: one.content for event in (WITH_CAP, ANCHORED) for one in event.blocks}
    other_blocks = pa.table(
        [pa.array(shared.keys(), pa.binary()), pa.array(shared.values(), pa.binary())],
        schema=BLOCKS,
    )
    raw = raw_of([Case(WITH_CAP), Case(ANCHORED)])
    assert decode_events(raw, check, other_blocks=other_blocks).links.num_rows == 2
    assert fetched.fetched == []


def test_what_is_not_listed_next_to_an_event_is_asked_for() -> None:
    lists = {event.cid: packed(event.blocks) for event in SERVABLE[1:]}
    asked: list[bytes] = []

    def fetch_event_blocks(cids: pa.Array) -> pa.Array:
        asked.extend(cids.to_pylist())
        return pa.array([lists.get(cid, b"") for cid in cids.to_pylist()], pa.binary())

    cases = [Case(event, event.blocks[at % 2 :]) for at, event in enumerate(SERVABLE)]
    decoded = decode_events(
        raw_of([*cases, Case(CHANGE)]), NodeCheck(Stored(blocks_of(SERVABLE)), fetch_event_blocks)
    )
    assert decoded.rejected["cid"].to_pylist() == [SERVABLE[0].cid]
    assert sorted(asked) == sorted(case.event.cid for case in cases if case.unlisted)


LOST = {
    len(SERVABLE) + at
    for at, (_, reason) in enumerate(UNSERVED.values())
    if reason.endswith("missing")
}
"""Cases that lack a block, which another case may bring."""


def test_any_batch_says_of_an_event_what_it_says_alone() -> None:
    cases = [Case(event) for event in (*SERVABLE, *(event for event, _ in UNSERVED.values()))]
    cases += [Case(event, event.blocks[:1]) for event in SERVABLE]
    alone = [reasons_of([case])[0] for case in cases]
    rng = Random(1)
    for _ in range(50):
        some = [
            at for at in rng.sample(range(len(cases)), k=rng.randrange(1, 20)) if at not in LOST
        ]
        assert reasons_of([cases[at] for at in some]) == [alone[at] for at in some]
