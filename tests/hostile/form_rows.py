"""Forms of the rows from which a node builds an event anew, apart from its blocks."""

from collections.abc import Iterator

from flows.synth.events import Event, Stream
from tests.hostile.form_blocks import protected_event

_PAYLOAD, _ROOT = (f"event_cid = x'{{cid}}' AND idx = {at}" for at in (0, 1))

ROWS: dict[str, tuple[bool, str, str, str]] = {
    "payload listed as raw": (False, "ceramic_one_event_block", "codec = 85", _PAYLOAD),
    "payload listed as dag-jose": (False, "ceramic_one_event_block", "codec = 133", _PAYLOAD),
    "payload listed with a negative codec": (
        False,
        "ceramic_one_event_block",
        "codec = -1",
        _PAYLOAD,
    ),
    "codec is a text": (False, "ceramic_one_event_block", "codec = 'x'", _PAYLOAD),
    "root listed as dag-cbor": (False, "ceramic_one_event_block", "codec = 113", _ROOT),
    "no root": (False, "ceramic_one_event_block", "root = 0", _ROOT),
    "the payload is the root": (
        False,
        "ceramic_one_event_block",
        "root = (idx = 0)",
        "event_cid = x'{cid}'",
    ),
    "both are roots": (False, "ceramic_one_event_block", "root = 1", "event_cid = x'{cid}'"),
    "root is 2": (True, "ceramic_one_event_block", "root = 2", _ROOT),
    "root is a text": (False, "ceramic_one_event_block", "root = 'x'", _ROOT),
    "root of the payload is a text": (
        False,
        "ceramic_one_event_block",
        "root = 'x'",
        _PAYLOAD,
    ),
    "order key of another type": (
        False,
        "ceramic_one_event",
        "order_key = x'ce0102' || substr(order_key, 4)",
        "cid = x'{cid}'",
    ),
    "order key that is too short": (
        False,
        "ceramic_one_event",
        "order_key = CAST(substr(order_key, 1, 23) AS BLOB)",
        "cid = x'{cid}'",
    ),
    "order key without a CID": (
        True,
        "ceramic_one_event",
        "order_key = CAST(substr(order_key, 1, 24) AS BLOB)",
        "cid = x'{cid}'",
    ),
    "order key that is a number": (
        False,
        "ceramic_one_event",
        "order_key = 5",
        "cid = x'{cid}'",
    ),
    "order key on a network of two bytes": (
        True,
        "ceramic_one_event",
        "order_key = CAST(x'ce0105' || x'8001' || substr(order_key, 5) AS BLOB)",
        "cid = x'{cid}'",
    ),
}
"""Whether a node takes it; a table, what is set in it, and in which row."""


def row_forms(stream: Stream, prev: bytes) -> Iterator[tuple[str, Event, str, bool]]:
    """The name of each form, its event, what is changed once it is stored, and who takes it."""
    for name, (taken, table, put, where) in ROWS.items():
        event = protected_event(stream, prev, name, b"{}")
        change = f"UPDATE {table} SET {put} WHERE {where.format(cid=event.cid.hex())}"
        yield name, event, change, taken
