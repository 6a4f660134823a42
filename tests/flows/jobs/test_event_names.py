"""The names by which people know an event."""

from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from libipld import encode_multibase

from connectors.sqlite import connect, scalar
from flows.jobs.event_names import parse_event
from operators.encoding.cid import cid_text
from tests.support.job import chain, store

INIT, COMMIT = chain(2)[0].cid, chain(2)[1].cid
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def base36(binary: bytes) -> str:
    """Multibase k, as Ceramic's libraries write StreamIDs."""
    number, digits = int.from_bytes(binary, "big"), ""
    while number:
        number, digit = divmod(number, 36)
        digits = DIGITS[digit] + digits
    return f"k{digits}"


STREAM_ID = b"\xce\x01\x02" + INIT


@pytest.mark.parametrize(
    ("text", "cid"),
    [
        (cid_text(COMMIT), COMMIT),
        (COMMIT.hex(), COMMIT),
        (f"0x{COMMIT.hex()}", COMMIT),
        (f"ipfs://{cid_text(COMMIT)}", COMMIT),
        (f"/ipfs/{cid_text(COMMIT)}", COMMIT),
        (f"X'{COMMIT.hex().upper()}'", COMMIT),
        (f"x'{COMMIT.hex()}'", COMMIT),
        (encode_multibase("k", COMMIT), COMMIT),
        (base36(STREAM_ID), INIT),
        (f"ceramic://{base36(STREAM_ID)}", INIT),
        (base36(STREAM_ID + b"\x00"), INIT),
        (base36(STREAM_ID + COMMIT), COMMIT),
    ],
)
def test_an_event_is_named_in_many_ways(text: str, cid: bytes) -> None:
    assert parse_event(f" {text}\n") == cid


def test_a_real_stream_id_names_its_init_event() -> None:
    # as Ceramic's documentation shows one
    stream = "kjzl6cwe1jw147dvq16zluojmraqvwdmbh61dx9e0c59i344lcrsgqfohexp60s"
    assert cid_text(parse_event(stream)).startswith("bagcqcera")


@pytest.mark.parametrize("quoted", [False, True])
def test_an_event_id_names_its_event(tmp_path: Path, *, quoted: bool) -> None:
    path = store(tmp_path / "node.db", chain(2))
    sql = f"SELECT order_key FROM ceramic_one_event WHERE cid = x'{COMMIT.hex()}'"
    with closing(connect(path)) as connection:
        order_key = scalar(connection, sql).hex()
    assert parse_event(f"X'{order_key}'" if quoted else order_key) == COMMIT


@given(st.text() | st.binary().map(bytes.hex) | st.binary().map(lambda rest: f"ce01{rest.hex()}"))
@example("k")
@example("X'")
@example("ce01")
@example("ce0105")
def test_anything_else_is_a_value_error_or_a_cid(text: str) -> None:
    try:
        cid = parse_event(text)
    except ValueError:
        return
    assert cid.startswith(b"\x01")
