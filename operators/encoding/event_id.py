"""Event ids: the order keys under which nodes exchange events (FORMAT.md, Streams)."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators.encoding.cid import read_varint
from operators.encoding.columns import pieces, spans

_EVENT_ID = b"\xce\x01\x05"
"""Two numbers: of a stream id, and of an event id."""
_HASHES = 20
"""Bytes between the network and the event's CID: 8 of the separator, 8 of the controller, 4 of
the init event."""
_SHORTEST_USUAL = len(_EVENT_ID) + 1 + _HASHES
_RANGE_ENDS = (b"", b"\xff")
"""The ends of a range of keys, which a node reads as keys."""


def is_event_id(order_key: bytes) -> bool:
    """Whether a node can read an order key; it looks at no more than this."""
    if order_key in _RANGE_ENDS:
        return True
    network, at = read_varint(order_key, len(_EVENT_ID))
    return (
        order_key.startswith(_EVENT_ID) and network is not None and len(order_key) - at >= _HASHES
    )


def odd_order_keys(order_key: pa.Array) -> list[int]:
    """The rows whose order key a node can't read."""
    data, start, end = spans(order_key)
    usual: NDArray[np.bool_] = end - start >= _SHORTEST_USUAL
    begin = pieces(data, start[usual], len(_EVENT_ID) + 1).view(np.uint8).reshape(-1, 4)
    usual[usual] = (begin[:, :3] == np.frombuffer(_EVENT_ID, np.uint8)).all(axis=1) & (
        begin[:, 3] < 0x80  # noqa: PLR2004 # a network of one byte
    )
    return [
        row for row in np.flatnonzero(~usual).tolist() if not is_event_id(order_key[row].as_py())
    ]
