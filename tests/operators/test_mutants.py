"""Decode and the two decoders below it, on blocks made at random and on mutants of valid ones."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from random import Random

import cbrrr
import libipld
import pytest
from cbrrr import CID, DagCborTypes, encode_dag_cbor
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.event import Links, read_event
from operators.schemas import Reason
from tests.support.blocks import (
    CBOR_CID,
    CIDS,
    HEADER,
    JOSE_CID,
    PREV,
    PREV_AS_BYTES,
    Raw,
    assert_read_row_by_row,
    envelope,
    link,
    valid,
)

forms: st.SearchStrategy[DagCborTypes] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary()
    | st.sampled_from([CID(cid) for cid in CIDS])
    | st.sampled_from(
        [PREV, PREV_AS_BYTES, PREV + HEADER, b"\x65proof" + link(CBOR_CID), link(JOSE_CID)]
    ),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
headers: st.SearchStrategy[DagCborTypes] = st.just({"model": b"m"})
links = st.sampled_from([CID(cid) for cid in CIDS]) | forms
fields: st.SearchStrategy[dict[str, DagCborTypes]] = st.fixed_dictionaries(
    {},
    optional={
        "id": links,
        "prev": links,
        "data": forms,
        "path": st.text(max_size=5) | forms,
        "proof": links,
        "header": headers | forms,
        "z": forms,
    },
)
# the lambda has the type that mypy can't infer
blocks = fields.map(lambda chosen: encode_dag_cbor(chosen))  # noqa: PLW0108


@settings(max_examples=100, deadline=None, print_blob=True)
@given(
    st.lists(
        blocks.map(lambda payload: Raw(envelope(payload), payload)) | blocks.map(Raw), max_size=6
    )
)
def test_any_fields_are_read_alike_in_a_batch_and_alone(raws: list[Raw]) -> None:
    assert_read_row_by_row(raws)


MUTANTS = 1500

_MARKS = (b"\x62id", b"\x64data", b"\x64prev", b"\x64path", b"\x65proof", b"\x58")
_HEADS = b"\x00\x18\x24\x25\x26\x40\x58\x59\x60\x64\x78\x81\x9a\xa2\xa3\xa4\xd8\xf6\xff"
_LONGER = ((b"\x58", b"\x59\x00"), (b"\x65value\x01", b"\x65value\x18\x01"), (b"\xa3", b"\xb8\x03"))


def mutants(seed: int) -> Iterator[Raw]:
    """Valid events of moderate size with one to three changes in one of their blocks."""
    rng = Random(seed)
    base = [raw for raw in valid() if len(raw.root) + len(raw.payload) < 2000]
    for _ in range(MUTANTS):
        raw = rng.choice(base)
        changed = partial(_changed, rng=rng, times=rng.randrange(1, 4))
        yield (
            raw._replace(payload=changed(raw.payload))
            if raw.payload and rng.random() < 0.7
            else raw._replace(root=changed(raw.root))
        )


def _changed(content: bytes, rng: Random, times: int) -> bytes:
    for _ in range(times):
        marks = [at for mark in _MARKS if (at := content.find(mark)) >= 0]
        # half of the changes are made in the bytes that hold the structure
        at = (
            rng.choice(marks) + rng.randrange(12)
            if marks and rng.random() < 0.5
            else rng.randrange(len(content))
        )
        head, tail = content[:at], content[at:] or b"\x00"
        content = (
            rng.choice(
                [
                    head + bytes([tail[0] ^ 1 << rng.randrange(8)]) + tail[1:],
                    head + rng.choice(_HEADS).to_bytes() + tail[1:],
                    head + rng.randbytes(rng.randrange(1, 4)) + tail,
                    head + tail[rng.randrange(1, 4) :],
                    head + content[rng.randrange(len(content)) :],
                    content.replace(*rng.choice(_LONGER), 1),
                ]
            )
            or b"\x00"
        )
    return content


@pytest.mark.parametrize("seed", [1, 2])
def test_mutants_of_valid_events_are_read_alike_in_a_batch_and_alone(seed: int) -> None:
    some = list(mutants(seed))
    for at in range(0, len(some), 4):
        assert_read_row_by_row(some[at : at + 4])
    for raw in some:
        assert_read_row_by_row([raw, valid()[3]])
    outcomes = Counter(type(read_event(*raw)) for raw in some)
    assert min(outcomes[Links], outcomes[Reason]) > MUTANTS // 20, (
        "hardly any of the mutants, or nearly all, can be read"
    )


LAX = {"integer not minimally encoded", "invalid extra info for float mtype (26)"}
"""What libipld accepts although DAG-CBOR forbids it: longer heads than necessary, floats of 32
bits."""
STRICT = ("Invalid CID", "recursion", "Negative zero")
"""What libipld rejects and cbrrr does not: links to what is no CID, depth, and the float -0.0."""


@pytest.mark.parametrize(
    ("block", "libipld_takes_it", "cbrrr_takes_it"),
    [
        (b"\x18\x01", True, False),
        (b"\x78\x01a", True, False),
        (b"\x58\x01a", True, False),
        (b"\xb8\x01\x61a\x01", True, False),
        (b"\xfa\x00\x00\x00\x00", True, False),
        (b"\xfb\x80" + bytes(7), False, True),
        (b"\xd8\x2a\x43\x00\x01\x71", False, True),
        (link(b"\x01\x71\x12\x80\x01" + bytes(128)), False, True),
        (b"\x81" * 1002 + b"\x01", False, True),
        (link(b"\x12\x20" + bytes(32)), True, True),
        (link(b"\x01\x71\x13\x40" + bytes(64)), True, True),
        (b"\x81" * 1001 + b"\x01", True, True),
        (b"\x1b" + b"\xff" * 8, True, True),
        (b"\xfb\x7f\xf0" + bytes(6), False, False),
        (b"\xa2\x61b\x01\x61a\x01", False, False),
        (b"\xa2\x61a\x01\x61a\x01", False, False),
        (b"\x61\xff", False, False),
        (b"\x01\x01", False, False),
        (b"\xf7", False, False),
        (b"\xc1\x01", False, False),
        (b"\x9f\xff", False, False),
        (b"", False, False),
    ],
)
def test_what_each_decoder_takes(
    block: bytes, *, libipld_takes_it: bool, cbrrr_takes_it: bool
) -> None:
    assert (_decoded(libipld.decode_dag_cbor, block)[1] == "") == libipld_takes_it
    assert (_decoded(cbrrr.decode_dag_cbor, block)[1] == "") == cbrrr_takes_it


def test_the_two_decoders_differ_only_where_it_is_known() -> None:
    seen: Counter[str] = Counter()
    for content in (one for raw in mutants(3) for one in raw if one):
        strict, strict_error = _decoded(cbrrr.decode_dag_cbor, content)
        lax, lax_error = _decoded(libipld.decode_dag_cbor, content)
        if strict_error and not lax_error:
            assert strict_error in LAX, content.hex()
        elif lax_error and not strict_error:
            assert any(known in lax_error for known in STRICT), content.hex()
        else:
            assert _plain(strict) == lax, content.hex()
        seen[f"{bool(strict_error)} {bool(lax_error)}"] += 1
    assert len(seen) == 4, "the mutants do not show all the differences"


def _decoded(decode: Callable[[bytes], object], content: bytes) -> tuple[object, str]:
    """What a block holds, or why it can't be decoded."""
    try:
        return decode(content), ""
    except (ValueError, RecursionError) as error:
        return None, str(error)


def _plain(decoded: object) -> object:
    """What cbrrr decoded, with links as the plain bytes that libipld makes of them."""
    if isinstance(decoded, CID):
        return bytes(decoded)
    if isinstance(decoded, dict):
        return {key: _plain(value) for key, value in decoded.items()}
    return [_plain(one) for one in decoded] if isinstance(decoded, list) else decoded
