"""Events that are put aside get the answer that each of them gets alone."""

from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random

import pyarrow as pa
import pytest

from flows.synth.events import Event, anchor, capability, data_event, init_event, time_event
from operators.check.batch import NodeCheck
from operators.check.later import AsideLimits, AsideSettings
from operators.decode import decode_events
from operators.schemas import BLOCKS
from tests.operators.check.test_batch import UNSERVED, Case, CheckedAlone, Stored, packed, raw_of

EAGER = AsideLimits(0, 0, settle_events=40, settle_share=0.0, needs_together=5)
"""Every event whose shared blocks are not at hand is put aside."""

AT_END = AsideLimits(0, 0, settle_events=10**9)
LAZY = AsideLimits(look_ups_at_once=60, look_ups_a_page=3, settle_events=20)


@cache
def events() -> tuple[Event, ...]:
    """Some 250 events that share blocks, and those that no node could serve."""
    inits = [init_event(seed) for seed in range(5)]
    capabilities = [capability("did:pkh:eip155:1:0x0", seed) for seed in range(4)]
    changes = [
        data_event(one.stream, one.cid, {"n": n}, cap=capabilities[n % 5] if n % 5 < 4 else None)
        for one in inits
        for n in range(25)
    ]
    anchored = [
        time_event(inits[0].stream, change.cid, witness)
        for depth, some in ((7, changes[:90]), (3, changes[90:96]), (0, changes[96:97]))
        for change, witness in zip(
            some, anchor([one.cid for one in some], depth=depth), strict=True
        )
    ]
    odd = [event for event, _ in UNSERVED.values()]
    return tuple({event.cid: event for event in (*inits, *changes, *anchored, *odd)}.values())


@cache
def expected() -> dict[bytes, str | None]:
    """Why each event is rejected when it is looked at alone, None if it is not."""
    cases = [Case(event) for event in events()]
    decoded = decode_events(raw_of(cases, blocks()), CheckedAlone(Stored(blocks())))
    rejected = dict(
        zip(
            decoded.rejected["cid"].to_pylist(), decoded.rejected["reason"].to_pylist(), strict=True
        )
    )
    return {event.cid: rejected.get(event.cid) for event in events()}


@cache
def blocks() -> dict[bytes, bytes]:
    """What the database holds: some shared blocks are missing."""
    held = {one.multihash: one.content for event in events() for one in event.blocks}
    shared = Counter(one.multihash for event in events() for one in event.blocks if not one.is_root)
    for lost in Random(1).sample(sorted(key for key, times in shared.items() if times > 1), 6):
        del held[lost]
    return held


def pages(rng: Random, delivered: float) -> Iterator[tuple[pa.RecordBatch, pa.Table]]:
    """The events in random order, each shared block next to the first event that has it.

    That event may have been delivered before, so that its blocks do not pass by.
    """
    order = rng.sample(events(), len(events()))
    seen: set[bytes] = set()
    while order:
        page = [order.pop() for _ in range(min(len(order), rng.randrange(1, 30)))]
        other_blocks = {}
        for event in page:
            for one in event.blocks:
                if one.multihash not in seen and rng.random() >= delivered:
                    other_blocks[one.multihash] = blocks().get(one.multihash)
                seen.add(one.multihash)
        there = [(key, content) for key, content in other_blocks.items() if content is not None]
        columns = zip(*there, strict=True) if there else ((), ())
        arrays = [pa.array(column, pa.binary()) for column in columns]
        raw = raw_of([Case(event) for event in page], blocks())
        yield raw, pa.table(arrays, schema=BLOCKS)


def fetch_events(cids: pa.Array) -> Iterator[pa.RecordBatch]:
    by_cid = {event.cid: event for event in events()}
    some = [Case(by_cid[cid]) for cid in reversed(cids.to_pylist())]
    for first in range(0, len(some), 3):
        yield raw_of(some[first : first + 3], blocks())


def fetch_event_blocks(cids: pa.Array) -> pa.Array:
    lists = {event.cid: packed(event.blocks) for event in events()}
    return pa.array([lists[cid] for cid in cids.to_pylist()], pa.binary())


@pytest.mark.parametrize("budget_bytes", [0, 30_000, 1 << 22])
@pytest.mark.parametrize("limits", [EAGER, AT_END, LAZY])
@pytest.mark.parametrize("delivered", [0.0, 0.5])
@pytest.mark.parametrize("seed", [1, 2])
def test_an_event_gets_the_same_answer_whenever_it_is_checked(
    tmp_path: Path, budget_bytes: int, limits: AsideLimits, delivered: float, seed: int
) -> None:
    stored = Stored(blocks())
    settings = AsideSettings(lambda: tmp_path, fetch_events, limits)
    check = NodeCheck(stored, fetch_event_blocks, budget_bytes=budget_bytes, aside=settings)
    assert check.later is not None
    aside = check.later.new_aside()
    found: dict[bytes, str | None] = {}
    put_aside = 0

    def settle() -> None:
        assert check.later is not None
        for links, reasons in check.later.settle(aside):
            found.update(zip(links["cid"].to_pylist(), map(_text, reasons), strict=True))

    for raw, other_blocks in pages(Random(seed), delivered):
        decoded = decode_events(raw, check, other_blocks=other_blocks)
        found.update(dict.fromkeys(decoded.links["cid"].to_pylist()))
        rejected = decoded.rejected
        found.update(zip(rejected["cid"].to_pylist(), rejected["reason"].to_pylist(), strict=True))
        if decoded.aside is not None:
            put_aside += len(decoded.aside)
            aside.put(decoded.aside)
            if check.later.should_settle(aside):
                settle()
    settle()
    assert found == expected()
    # without a delivered event whatever is shared has passed by
    assert put_aside or (budget_bytes > 1 << 20 and not delivered) or limits is LAZY
    assert aside.events == 0


def _text(reason: str | None) -> str | None:
    return None if reason is None else str(reason)


def test_what_has_passed_by_is_not_looked_up(tmp_path: Path) -> None:
    whole = {one.multihash: one.content for event in events() for one in event.blocks}
    stored = Stored(whole)
    served = [event for event in events() if event.cid not in {e.cid for e, _ in UNSERVED.values()}]
    settings = AsideSettings(lambda: tmp_path, fetch_events, AT_END)
    check = NodeCheck(stored, budget_bytes=0, aside=settings)
    assert check.later is not None
    aside = check.later.new_aside()
    other_blocks: dict[bytes, bytes] = {}
    links = 0
    for event in Random(1).sample(served, len(served)):
        new = {
            one.multihash: one.content for one in event.blocks if one.multihash not in other_blocks
        }
        other_blocks |= new
        arrays = [pa.array(column, pa.binary()) for column in (new.keys(), new.values())]
        decoded = decode_events(
            raw_of([Case(event)], whole), check, other_blocks=pa.table(arrays, schema=BLOCKS)
        )
        links += len(decoded.links)
        if decoded.aside is not None:
            aside.put(decoded.aside)
    assert aside.events > 20
    for some, reasons in check.later.settle(aside):
        assert set(reasons) <= {None}
        links += len(some)
    assert links == len(served)
    assert stored.fetched == []


def test_an_event_that_has_gone_meanwhile_is_rejected(tmp_path: Path) -> None:
    limits = AsideLimits(0, 0)
    settings = AsideSettings(lambda: tmp_path, lambda _: iter(()), limits)
    check = NodeCheck(Stored({}), budget_bytes=0, aside=settings)
    assert check.later is not None
    aside = check.later.new_aside()
    anchored = [Case(event) for event in events() if event.kind == "time"][:20]
    decoded = decode_events(raw_of(anchored, blocks_of_all()), check)
    assert decoded.aside is not None
    aside.put(decoded.aside)
    found = [reason for _, reasons in check.later.settle(aside) for reason in reasons]
    assert set(found) == {"root block missing"}


def blocks_of_all() -> dict[bytes, bytes]:
    return {one.multihash: one.content for event in events() for one in event.blocks}
