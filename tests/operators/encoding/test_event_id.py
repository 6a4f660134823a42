"""Order keys: which of them a node can read."""

import pyarrow as pa
import pytest

from flows.synth.events import init_event
from operators.encoding.event_id import is_event_id, odd_order_keys

KEY = init_event(1).order_key
SHORTEST = KEY[:24]


@pytest.mark.parametrize(
    ("order_key", "readable"),
    [
        (KEY, True),
        (SHORTEST, True),
        (SHORTEST[:-1], False),
        (KEY[:3] + b"\x80\x01" + KEY[4:], True),
        (KEY[:3] + b"\x80\x00" + KEY[4:], False),
        (KEY[:3] + b"\x80" * 30, False),
        (b"\xce\x01\x02" + KEY[3:], False),
        (b"\xce\x81\x00\x05" + KEY[3:], False),
        (b"", True),
        (b"\xff", True),
        (b"\xfe", False),
    ],
)
def test_a_node_reads_event_ids_and_the_ends_of_a_range(
    order_key: bytes, *, readable: bool
) -> None:
    assert is_event_id(order_key) == readable
    column = pa.array([KEY, order_key, SHORTEST], pa.binary())
    assert odd_order_keys(column) == ([] if readable else [1])
