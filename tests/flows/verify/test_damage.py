"""Damaged databases: each kind of damage is found by exactly the rule that it breaks."""

# SQL of our own values

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from cbrrr import CID, DagCborTypes, encode_dag_cbor

from flows.synth.events import (
    Event,
    Witness,
    anchor,
    block,
    build_event,
    data_event,
    sign,
    time_event,
)
from flows.verify.rules import RULES
from flows.verify.verify import verify
from tests.support.world import (
    WORLD,
    change,
    fields,
    literal,
    set_number,
    store,
    the,
    without_unique_numbers,
)

Make = Callable[[Path], Path]


class Damage(NamedTuple):
    """One damaged database."""

    rule: str
    what: str
    make: Make
    """Write it to this path."""
    found: int = 1
    """How many violations there are."""


def changed(*statements: str) -> Make:
    return lambda path: change(store(path), *statements)


def renumbered(**numbers: int | None) -> Make:
    return lambda path: store(path, numbers=numbers)


def with_event(event: Event, number: int = 1000) -> Make:
    return lambda path: store(path, more=[(event, number)])


def instead(name: str, event: Event) -> Make:
    return lambda path: store(path, replaced={name: event})


def twice_the_same_number(path: Path) -> Path:
    return change(without_unique_numbers(store(path)), set_number("leaf", "90"))


def multihash(name: str, index: int) -> str:
    return literal(WORLD[name].blocks[index].multihash)


def without_block(name: str, index: int) -> Make:
    return changed(f"DELETE FROM ceramic_one_block WHERE multihash = {multihash(name, index)}")


def listed(name: str, index: int) -> str:
    """The condition that finds a row of the list of an event's blocks."""
    return f"event_{the(name)} AND block_multihash = {multihash(name, index)}"


def unlisted(name: str, index: int) -> Make:
    return changed(f"DELETE FROM ceramic_one_event_block WHERE {listed(name, index)}")


def with_bytes(name: str, index: int, content: bytes) -> Make:
    condition = f"multihash = {multihash(name, index)}"
    return changed(f"UPDATE ceramic_one_block SET bytes = {literal(content)} WHERE {condition}")


def time_event_with(
    path: str | None = None, proof: DagCborTypes = None, witness: Witness | None = None
) -> Event:
    """An anchor of `fork` with another path or proof."""
    witness = witness or anchor([WORLD["init"].cid, WORLD["fork"].cid], depth=1)[1]
    if proof is not None:
        witness = witness._replace(proof=block(encode_dag_cbor(proof)))
    return time_event(
        WORLD["init"].stream,
        WORLD["fork"].cid,
        witness._replace(path=witness.path if path is None else path),
    )


def envelope_with(signatures: DagCborTypes) -> Event:
    """A child of `fork` whose envelope has other signatures."""
    payload = encode_dag_cbor(
        {"id": CID(WORLD["init"].cid), "prev": CID(WORLD["fork"].cid), "data": None}
    )
    content, root = sign(payload, "did:key:z")
    unsigned = {**fields(root.content), "signatures": signatures}
    return build_event(
        WORLD["init"].stream,
        "data",
        WORLD["fork"].cid,
        [content, block(encode_dag_cbor(unsigned), 0x85, is_root=True)],
    )


INIT, CHANGE, LEAF, ANCHOR, SECOND = (
    WORLD["init"],
    WORLD["change"],
    WORLD["leaf"],
    WORLD["anchor"],
    WORLD["second"],
)
ENVELOPE, PAYLOAD = -1, -2
CAP = 0
ROOT, PROOF, NODES = 0, 1, 2
UNKNOWN = block(b"never stored").cid
PROOF_FIELDS = fields(ANCHOR.blocks[PROOF].content)
NESTED = (
    b"\xa3\x62id\xd8\x2a\x58\x26\x00"
    + INIT.cid
    + b"\x64data"
    + b"\x81" * 127
    + b"\x81\x00"
    + b"\x64prev\xd8\x2a\x58\x26\x00"
    + INIT.cid
)
TEXT_MODEL = build_event(
    CHANGE.stream,
    "unsigned init",
    None,
    [block(encode_dag_cbor({"header": {"model": "kjzl"}}), is_root=True)],
)

CORPUS = [
    Damage("number-valid", "zero", renumbered(init=0)),
    Damage("number-valid", "negative", renumbered(init=-5)),
    Damage("number-valid", "text", changed(set_number("leaf", "'soon'"))),
    Damage("number-valid", "fraction", changed(set_number("leaf", "75.5"))),
    Damage("number-valid", "blob", changed(set_number("leaf", "x'01'"))),
    Damage("number-unique", "two equal numbers", twice_the_same_number, 2),
    Damage(
        "parent-delivered",
        "a parent that is gone",
        changed(f"DELETE FROM ceramic_one_event WHERE {the('change')}"),
    ),
    Damage("parent-delivered", "a waiting parent", renumbered(grandchild=1000)),
    Damage("parent-delivered", "a missing parent", renumbered(orphan=1000, grandchild=1010)),
    Damage("parent-first", "child before parent", renumbered(leaf=40, anchor=60)),
    Damage("parent-first", "child before init", renumbered(unsigned=100)),
    Damage(
        "parent-same-stream",
        "a prev of another stream",
        with_event(data_event(INIT.stream, CHANGE.cid, {"n": 1})),
    ),
    Damage(
        "parent-same-stream", "a time event's prev", with_event(time_event(CHANGE.stream, LEAF.cid))
    ),
    Damage("nothing-left", "a leaf", renumbered(leaf=None)),
    Damage("nothing-left", "a fork", renumbered(fork=None)),
    Damage("nothing-left", "a whole stream", renumbered(unsigned=None, change=None, alone=None), 3),
    Damage(
        "nothing-left",
        "a chain below a delivered event",
        renumbered(second=None, anchor=None, leaf=None, fork=None),
        4,
    ),
    Damage("block-present", "envelope", without_block("leaf", ENVELOPE)),
    Damage("block-present", "payload", without_block("leaf", PAYLOAD)),
    Damage("block-present", "capability", without_block("second", CAP), 2),
    Damage("block-present", "time event", without_block("anchor", ROOT)),
    Damage("block-present", "proof", without_block("anchor", PROOF)),
    Damage("block-present", "first witness node", without_block("anchor", NODES)),
    Damage("block-present", "last witness node", without_block("anchor", NODES + 2)),
    Damage("block-present", "unsigned init", without_block("unsigned", 0)),
    Damage("block-listed", "envelope", unlisted("leaf", ENVELOPE)),
    Damage("block-listed", "payload", unlisted("leaf", PAYLOAD)),
    Damage("block-listed", "capability", unlisted("second", CAP)),
    Damage("block-listed", "time event", unlisted("anchor", ROOT)),
    Damage("block-listed", "proof", unlisted("anchor", PROOF)),
    Damage("block-listed", "witness node", unlisted("anchor", NODES + 1)),
    Damage(
        "block-listed",
        "all blocks of an event",
        changed(f"DELETE FROM ceramic_one_event_block WHERE event_{the('leaf')}"),
        2,
    ),
    Damage("block-readable", "a changed envelope", with_bytes("leaf", ENVELOPE, b"\xff")),
    Damage(
        "block-readable",
        "an envelope without signatures",
        with_bytes("leaf", ENVELOPE, encode_dag_cbor({"payload": LEAF.blocks[0].cid})),
    ),
    Damage(
        "block-readable", "a cut payload", with_bytes("leaf", PAYLOAD, LEAF.blocks[0].content[:-1])
    ),
    Damage("block-readable", "an empty payload", with_bytes("leaf", PAYLOAD, b"")),
    Damage("block-readable", "a payload that is no map", with_bytes("leaf", PAYLOAD, b"\x00")),
    Damage(
        "block-readable",
        "a payload nested too deep for the node",
        with_bytes("first", PAYLOAD, NESTED),
    ),
    Damage(
        "block-readable",
        "a payload without data",
        with_bytes("first", PAYLOAD, encode_dag_cbor({"id": CID(INIT.cid), "prev": CID(INIT.cid)})),
    ),
    Damage(
        "block-readable",
        "a prev that is no link",
        with_bytes(
            "first", PAYLOAD, encode_dag_cbor({"id": CID(INIT.cid), "prev": b"no CID", "data": 1})
        ),
    ),
    Damage(
        "block-readable",
        "a link that is no CID",
        with_bytes("leaf", PAYLOAD, encode_dag_cbor({"data": CID(b"\x01\x71")})),
    ),
    Damage(
        "block-readable",
        "a capability without its parts",
        with_bytes("second", CAP, encode_dag_cbor({"h": {"t": "eip4361"}})),
        2,
    ),
    Damage(
        "block-readable",
        "a proof without chain",
        with_event(time_event_with(proof={**PROOF_FIELDS, "chainId": 1})),
    ),
    Damage(
        "block-readable",
        "a witness node that is no list",
        with_bytes("anchor", NODES, encode_dag_cbor({"0": CID(UNKNOWN)})),
    ),
    Damage("block-readable", "a model that is no byte string", with_event(TEXT_MODEL)),
    Damage(
        "block-listed",
        "another codec",
        changed(f"UPDATE ceramic_one_event_block SET codec = 85 WHERE {listed('leaf', PAYLOAD)}"),
    ),
    Damage(
        "block-listed",
        "another codec of the root",
        changed(f"UPDATE ceramic_one_event_block SET codec = 113 WHERE {listed('leaf', ENVELOPE)}"),
    ),
    Damage(
        "root-flagged",
        "no root",
        changed(f"UPDATE ceramic_one_event_block SET root = 0 WHERE {listed('leaf', ENVELOPE)}"),
    ),
    Damage(
        "root-flagged",
        "two roots",
        changed(f"UPDATE ceramic_one_event_block SET root = 1 WHERE {listed('leaf', PAYLOAD)}"),
    ),
    Damage(
        "root-flagged",
        "a root of another type",
        changed(f"UPDATE ceramic_one_event_block SET root = 'x' WHERE {listed('leaf', ENVELOPE)}"),
    ),
    *(
        Damage(
            "order-key-valid",
            what,
            changed(f"UPDATE ceramic_one_event SET order_key = {key} WHERE {the('leaf')}"),
        )
        for what, key in {
            "text": "'ce0105'",
            "a number": "5",
            "another beginning": "CAST(x'ce0106' || substr(order_key, 4) AS BLOB)",
            "cut off": "substr(order_key, 1, 23)",
            "no end of the network": "CAST(x'ce0105' || x'8080808080808080808080808080' AS BLOB)",
        }.items()
    ),
    Damage(
        "block-readable",
        "a time event that a node would write otherwise",
        with_bytes(
            "anchor", ROOT, encode_dag_cbor({**fields(ANCHOR.blocks[ROOT].content), "more": 1})
        ),
    ),
    Damage("signature-present", "no signature", with_event(envelope_with([]))),
    Damage(
        "block-readable", "a signature that is no map", with_event(envelope_with([b"signature"]))
    ),
    Damage(
        "block-readable",
        "a signature without bytes",
        with_event(envelope_with([{"protected": b"{}"}])),
    ),
    Damage("witness-proves-prev", "the path of another event", with_event(time_event_with("0"))),
    Damage("witness-proves-prev", "an index out of range", with_event(time_event_with("2"))),
    Damage(
        "witness-proves-prev", "an index that is no number", with_event(time_event_with("left"))
    ),
    Damage("witness-proves-prev", "no path", with_event(time_event_with(""))),
    Damage(
        "block-present",
        "a path that is too long",
        with_event(
            time_event_with(
                "0/0", witness=anchor([WORLD["lost"].cid, WORLD["fork"].cid], depth=1)[1]
            )
        ),
    ),
]


@pytest.mark.parametrize("damage", CORPUS, ids=lambda damage: f"{damage.rule}: {damage.what}")
def test_damage_is_found_by_the_one_rule_that_it_breaks(tmp_path: Path, damage: Damage) -> None:
    verification = verify(damage.make(tmp_path / "db"))
    assert verification.failed == {damage.rule}
    (finding,) = (finding for finding in verification.findings if finding.rule.name == damage.rule)
    assert finding.violations == damage.found
    assert finding.in_baseline == 0


def test_every_rule_that_needs_nothing_else_has_its_damage() -> None:
    assert {damage.rule for damage in CORPUS} == {rule.name for rule in RULES if rule.needs is None}
