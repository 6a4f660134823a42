"""Synthetic events have the shapes of FORMAT.md and, byte for byte, of what a node wrote."""

import json
from contextlib import closing
from hashlib import sha256
from shutil import copyfile
from typing import Any, NamedTuple

import cbrrr
import libipld
import pytest

from connectors.sqlite import connect, query
from flows.synth.events import (
    DAG_CBOR,
    DAG_JOSE,
    Block,
    Event,
    Stream,
    Witness,
    anchor,
    block,
    capability,
    data_event,
    did_pkh,
    init_event,
    time_event,
)
from flows.synth.rows import pack
from tests.support.snapshots import SNAPSHOTS

ACCOUNT = did_pkh(1)
CAP = capability(ACCOUNT, 2)
INIT = init_event(1, data={"n": 1})
UNSIGNED = init_event(2, signed=False)
DELEGATED = init_event(3, controller=ACCOUNT, cap=CAP)
DATA = data_event(
    INIT.stream, INIT.cid, [{"op": "add", "path": "/k", "value": 2}], header={"shouldIndex": True}
)
DELEGATED_DATA = data_event(DELEGATED.stream, DELEGATED.cid, None, cap=CAP)
ALONE = time_event(INIT.stream, DATA.cid)
EVENTS = [INIT, UNSIGNED, DELEGATED, DATA, DELEGATED_DATA, ALONE]
"""Every shape but a time event in a tree."""


def contents(event: Event) -> list[Any]:
    return [libipld.decode_dag_cbor(one.content) for one in event.blocks]


@pytest.mark.parametrize("event", EVENTS)
def test_every_block_lies_under_its_own_hash_and_the_root_under_the_event_cid(event: Event) -> None:
    for one in event.blocks:
        assert one.multihash == b"\x12\x20" + sha256(one.content).digest()
    (root,) = [one for one in event.blocks if one.is_root]
    decoded = libipld.decode_cid(event.cid)
    assert (decoded["version"], decoded["codec"]) == (1, root.codec)
    assert decoded["hash"]["digest"] == sha256(root.content).digest()


@pytest.mark.parametrize("event", EVENTS)
def test_blocks_are_canonical_dag_cbor(event: Event) -> None:
    for one in event.blocks:
        assert cbrrr.encode_dag_cbor(cbrrr.decode_dag_cbor(one.content)) == one.content
        if (
            one.codec == DAG_CBOR
        ):  # a second encoder; it takes the payload of an envelope for a link
            assert libipld.encode_dag_cbor(libipld.decode_dag_cbor(one.content)) == one.content


def test_a_signed_init_event_is_a_payload_with_header_and_data_and_its_envelope() -> None:
    payload, envelope = contents(INIT)
    assert payload["data"] == {"n": 1}
    assert payload["header"].keys() == {"controllers", "model", "sep", "unique"}
    assert payload["header"]["controllers"] == [INIT.stream.controller]
    assert envelope["payload"] == INIT.blocks[0].cid
    assert [one.codec for one in INIT.blocks] == [DAG_CBOR, DAG_JOSE]
    assert (INIT.kind, INIT.init, INIT.prev) == ("init", INIT.cid, None)


def test_an_unsigned_init_event_is_the_payload_itself() -> None:
    (payload,) = contents(UNSIGNED)
    assert (payload.keys(), payload["data"]) == ({"header", "data"}, None)
    assert UNSIGNED.blocks[0].codec == DAG_CBOR
    assert (UNSIGNED.kind, UNSIGNED.init, UNSIGNED.prev) == ("unsigned init", UNSIGNED.cid, None)


def test_a_data_event_links_its_stream_and_its_parent() -> None:
    payload, _ = contents(DATA)
    assert payload == {
        "id": INIT.cid,
        "prev": INIT.cid,
        "data": [{"op": "add", "path": "/k", "value": 2}],
        "header": {"shouldIndex": True},
    }
    assert b"dprev\xd8\x2a\x58\x26\x00" + INIT.cid in DATA.blocks[0].content


def test_a_data_event_may_have_null_data_and_then_still_has_the_field() -> None:
    assert contents(DELEGATED_DATA)[1]["data"] is None


def test_an_envelope_begins_with_the_bytes_that_sql_follows() -> None:
    payload, envelope = DATA.blocks
    assert envelope.content.startswith(b"\xa2\x67payload\x58\x24\x01\x71" + payload.multihash)


@pytest.mark.parametrize("event", [DELEGATED, DELEGATED_DATA])
def test_a_capability_is_named_in_the_protected_header_and_listed_with_the_event(
    event: Event,
) -> None:
    cacao, _, envelope = contents(event)
    protected = json.loads(envelope["signatures"][0]["protected"])
    assert protected["cap"] == "ipfs://" + libipld.encode_cid(event.blocks[0].cid)
    assert protected["kid"].startswith(cacao["p"]["aud"] + "#")
    assert cacao["p"]["iss"] == ACCOUNT
    assert cacao.keys() == {"h", "p", "s"}
    assert cacao["p"].keys() >= {"aud", "domain", "iat", "iss", "nonce", "version"}


def test_a_time_event_anchored_alone_is_its_own_root() -> None:
    root, proof = contents(ALONE)
    assert root == {"id": INIT.cid, "prev": DATA.cid, "proof": ALONE.blocks[1].cid, "path": ""}
    assert proof["root"] == DATA.cid
    assert proof.keys() == {"chainId", "root", "txHash", "txType"}


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_the_path_leads_from_the_root_through_the_listed_nodes_to_the_parent(count: int) -> None:
    inits = [init_event(seed) for seed in range(count)]
    witnesses = anchor([init.cid for init in inits], depth=3)
    assert len({witness.proof for witness in witnesses}) == 1
    for init, witness in zip(inits, witnesses, strict=True):
        root, proof, *_ = contents(event := time_event(init.stream, init.cid, witness))
        blocks = {one.cid: one.content for one in event.blocks[2:]}
        link = proof["root"]
        for index in root["path"].split("/"):
            link = libipld.decode_dag_cbor(blocks.pop(link))[int(index)]
        assert link == init.cid
        assert not blocks


def test_more_events_than_a_tree_has_leaves_are_refused() -> None:
    with pytest.raises(ValueError, match="5 events do not fit a tree of depth 2"):
        anchor([INIT.cid] * 5, depth=2)


against_a_node = pytest.mark.skipif(not SNAPSHOTS.exists(), reason="no databases of a node here")


class Stored(NamedTuple):
    """An event as a node stored it."""

    cid: bytes
    init: bytes
    order_key: bytes
    ahash: list[int]
    blocks: list[Block]

    @property
    def payload(self) -> Any:
        """The fields of the payload, or of a time event's root: a node stores that block first."""
        return cbrrr.decode_dag_cbor(self.blocks[0].content)

    @property
    def is_time_event(self) -> bool:
        """Its first block is its root, and it is no init event."""
        return self.blocks[0].is_root


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> list[Stored]:
    """All events of a database that a node wrote."""
    copy = tmp_path_factory.mktemp("snapshot") / "node.db"
    copyfile(SNAPSHOTS / "node-fork.db", copy)
    with closing(connect(copy, immutable=True)) as connection:
        events = query(connection, "SELECT * FROM ceramic_one_event ORDER BY rowid").to_pylist()
        blocks = query(
            connection,
            "SELECT event_cid, multihash, bytes, codec, root FROM ceramic_one_event_block "
            "JOIN ceramic_one_block ON multihash = block_multihash ORDER BY event_cid, idx",
        ).to_pylist()
    listed: dict[bytes, list[Block]] = {}
    for row in blocks:
        listed.setdefault(row["event_cid"], []).append(
            Block(row["multihash"], row["bytes"], row["codec"], bool(row["root"]))
        )
    return [
        Stored(
            row["cid"],
            row["init_cid"],
            row["order_key"],
            [row[f"ahash_{i}"] for i in range(8)],
            listed[row["cid"]],
        )
        for row in events
    ]


@against_a_node
def test_data_and_time_events_are_rebuilt_to_the_byte(stored: list[Stored]) -> None:
    rebuilt = {"data": 0, "time": 0}
    for event in stored:
        if event.cid == event.init:
            continue
        stream = Stream(event.init, b"", "did:key:z")
        fields = event.payload
        if event.is_time_event:
            _, proof, *nodes = event.blocks
            again = time_event(
                stream, fields["prev"].cid_bytes, Witness(proof, fields["path"], tuple(nodes))
            )
            assert again.cid == event.cid
            assert list(again.blocks) == event.blocks
        else:
            again = data_event(stream, fields["prev"].cid_bytes, fields["data"])
            assert again.blocks[0] == event.blocks[0]
        rebuilt[again.kind] += 1
    assert min(rebuilt.values()) > 50


@against_a_node
def test_envelopes_have_the_same_fields_and_sizes(stored: list[Stored]) -> None:
    theirs = next(event.blocks[-1].content for event in stored if not event.is_time_event)
    ours = DATA.blocks[-1].content
    assert len(ours) == len(theirs)
    shape = [(key, type(value)) for key, value in libipld.decode_dag_cbor(theirs).items()]
    assert [(key, type(value)) for key, value in libipld.decode_dag_cbor(ours).items()] == shape


@against_a_node
def test_the_order_key_is_made_of_model_controller_and_init_cid(stored: list[Stored]) -> None:
    inits = [event for event in stored if event.cid == event.init]
    assert inits
    for event in inits:
        header = event.payload["header"]
        again = init_event(0, model=header["model"], controller=header["controllers"][0])
        assert again.order_key[:20] + event.cid[-4:] + event.cid == event.order_key


@against_a_node
def test_the_ahash_is_that_of_the_order_key(stored: list[Stored]) -> None:
    events = [
        Event(row.cid, Stream(row.init, row.order_key[: -len(row.cid)], ""), "data", None, ())
        for row in stored
    ]
    packed = pack(events, [None] * len(events))
    for word in range(8):
        assert packed[f"ahash_{word}"].to_pylist() == [row.ahash[word] for row in stored]


@against_a_node
def test_the_proof_of_a_lone_event_has_the_fields_of_a_node(stored: list[Stored]) -> None:
    theirs = next(
        event.blocks[1] for event in stored if event.is_time_event and event.payload["path"] == ""
    )
    decoded = cbrrr.decode_dag_cbor(theirs.content)
    ours = cbrrr.decode_dag_cbor(anchor([INIT.cid], depth=0)[0].proof.content)
    assert isinstance(decoded, dict)
    assert isinstance(ours, dict)
    assert {key: type(value) for key, value in ours.items()} == {
        key: type(value) for key, value in decoded.items()
    }
    assert len(anchor([INIT.cid], depth=0)[0].proof.content) == len(theirs.content)


def test_a_block_of_any_bytes_can_be_made_for_a_damaged_event() -> None:
    torn = block(b"\xff", is_root=True)
    assert torn.cid == b"\x01\x71\x12\x20" + sha256(b"\xff").digest()
