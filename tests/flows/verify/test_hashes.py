"""Each block has the hash in its multihash, and is read alike in whatever process."""

# SQL of our own values

from pathlib import Path

import pytest
from cbrrr import CID, encode_dag_cbor
from Crypto.Hash import keccak

from connectors.errors import CannotStartError
from flows.synth.events import Block, block, build_event
from flows.verify.verify import verify
from tests.support.world import WORLD, change, fields, literal, store

LEAF = WORLD["leaf"]
PAGE_BYTES = 4096
OTHER_DATA = encode_dag_cbor({**fields(LEAF.blocks[0].content), "data": {"name": "another"}})
SET_OTHER_DATA = (
    f"UPDATE ceramic_one_block SET bytes = {literal(OTHER_DATA)}"
    f" WHERE multihash = {literal(LEAF.blocks[0].multihash)}"
)


def test_a_payload_with_another_hash_is_found_only_if_hashes_are_asked_for(tmp_path: Path) -> None:
    database = change(store(tmp_path / "db"), SET_OTHER_DATA)
    assert verify(database).failed == set()
    verification = verify(database, hashes=True)
    assert verification.failed == {"hash-right"}
    (finding,) = (finding for finding in verification.findings if finding.violations)
    assert (finding.violations, finding.first[0].number) == (1, 60)


def test_a_block_that_had_another_hash_in_the_baseline_already_is_old_damage(
    tmp_path: Path,
) -> None:
    baseline = change(store(tmp_path / "baseline"), SET_OTHER_DATA)
    assert verify(
        change(store(tmp_path / "same"), SET_OTHER_DATA), baseline=baseline, hashes=True
    ).is_good
    sound = store(tmp_path / "sound")
    verification = verify(
        change(store(tmp_path / "db"), SET_OTHER_DATA), baseline=sound, hashes=True
    )
    assert verification.failed == {"hash-right", "nothing-else-changed"}


def keccak_block(content: bytes) -> Block:
    return block(content)._replace(
        multihash=b"\x1b\x20" + keccak.new(digest_bits=256, data=content).digest()
    )


@pytest.mark.parametrize(
    ("multihash_of", "failed"), [(b"stored", set()), (b"another", {"hash-right"})]
)
def test_keccak_256_is_known(tmp_path: Path, multihash_of: bytes, failed: set[str]) -> None:
    multihash = keccak_block(multihash_of).multihash
    database = change(
        store(tmp_path / "db"),
        f"INSERT INTO ceramic_one_block VALUES ({literal(multihash)}, {literal(b'stored')})",
    )
    assert verify(database, hashes=True).failed == failed


def test_an_event_may_have_a_keccak_block(tmp_path: Path) -> None:
    payload = keccak_block(
        encode_dag_cbor({"id": CID(WORLD["init"].cid), "prev": CID(LEAF.cid), "data": 1})
    )
    envelope = encode_dag_cbor({"payload": payload.cid, "signatures": [{"signature": b"s"}]})
    event = build_event(
        LEAF.stream, "data", LEAF.cid, [payload, block(envelope, 0x85, is_root=True)]
    )
    assert verify(store(tmp_path / "db", more=[(event, 1000)]), hashes=True).is_good


def test_a_hash_function_that_is_not_known_is_counted_and_no_violation(tmp_path: Path) -> None:
    database = change(
        store(tmp_path / "db"), "INSERT INTO ceramic_one_block VALUES (x'1e20', x'00')"
    )
    verification = verify(database, hashes=True)
    assert (verification.failed, verification.unknown_hashes) == (set(), 1)
    assert verify(database).unknown_hashes is None


def test_blocks_decoded_in_other_processes_are_the_same(tmp_path: Path) -> None:
    database = change(store(tmp_path / "db", numbers={"leaf": None}), SET_OTHER_DATA)
    here = verify(database, hashes=True)
    elsewhere = verify(database, hashes=True, blocks_for_processes=1)
    assert elsewhere.findings == here.findings
    assert elsewhere.failed == {"hash-right", "nothing-left"}
    assert elsewhere.blocks == here.blocks


ROWS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) "
MANY_ROWS = {
    "block": (
        f"{ROWS} INSERT INTO ceramic_one_block SELECT CAST('row ' || i AS BLOB), "
        "CAST('the bytes of row ' || i || '.' AS BLOB) FROM n"
    ),
    "event_block": (
        f"{ROWS} INSERT INTO ceramic_one_event_block SELECT CAST('the bytes of row ' || i || '.' "
        "AS BLOB), CAST('block' AS BLOB), 113, 0, FALSE FROM n"
    ),
    "event": (
        f"{ROWS} INSERT INTO ceramic_one_event (order_key, cid, ahash_0, ahash_1, ahash_2, "
        "ahash_3, ahash_4, ahash_5, ahash_6, ahash_7) SELECT CAST(i AS BLOB), "
        "CAST('the bytes of row ' || i || '.' AS BLOB), 0, 0, 0, 0, 0, 0, 0, 0 FROM n"
    ),
}
"""Rows by table, of which DuckDB or a decoder fetches those from the 2,049th on later."""


@pytest.mark.parametrize("least", [1, 1_000_000], ids=["other processes", "this process"])
@pytest.mark.parametrize("table", MANY_ROWS)
def test_a_damaged_page_behind_the_first_rows_is_an_error_and_no_finding(
    tmp_path: Path, table: str, least: int
) -> None:
    database = change(store(tmp_path / "db"), MANY_ROWS[table])
    content = bytearray(database.read_bytes())
    while (found := content.find(b"the bytes of row 2500.")) >= 0:
        page = found // PAGE_BYTES * PAGE_BYTES
        content[page : page + PAGE_BYTES] = b"\xff" * PAGE_BYTES
    database.write_bytes(content)
    with pytest.raises(CannotStartError, match=r"malformed\. Nothing was changed"):
        verify(database, blocks_for_processes=least)


def test_a_long_block_is_read_whole(tmp_path: Path) -> None:
    payload = block(
        encode_dag_cbor(
            {"id": CID(WORLD["init"].cid), "prev": CID(LEAF.cid), "data": "long" * 100_000}
        )
    )
    envelope = encode_dag_cbor({"payload": payload.cid, "signatures": [{"signature": b"s"}]})
    event = build_event(
        LEAF.stream, "data", LEAF.cid, [payload, block(envelope, 0x85, is_root=True)]
    )
    assert verify(store(tmp_path / "db", more=[(event, 1000)]), hashes=True).is_good
    cut = event._replace(blocks=(payload._replace(content=payload.content[:-1]), event.blocks[1]))
    assert verify(store(tmp_path / "cut", more=[(cut, 1000)])).failed == {"block-readable"}
