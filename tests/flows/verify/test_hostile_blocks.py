"""The time and memory that a block can take, against as many bytes of an ordinary one."""

import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from cbrrr import CID, encode_dag_cbor

from flows.synth.events import build_event, init_event, sign
from flows.verify.blocks import read_block
from flows.verify.protected import capability_cid
from tests.support.blocks import bytes_item, link
from tests.support.job import store
from tests.support.program import ceramic_order, run_measured

BYTES = 132_000
"""More than a block has of which objects are made."""
MOST_TIMES = 15
"""As long. With objects, or a look at each value for each level, it was a hundred times."""
MOST_KIB = 12 * 1024
"""More memory; as objects the blocks take 70 times their size."""
LARGE = 300_000

INIT = init_event(1)
A = INIT.cid
LAX = b"\x18\x01"
"""A number that no strict encoder writes so."""


def repeated(item: bytes, *, first: bytes = LAX, size: int = BYTES) -> bytes:
    """A list of so many bytes."""
    items = size // len(item)
    return b"\x9a" + (items + 1).to_bytes(4, "big") + first + item * items


def event(data: bytes) -> bytes:
    """A data event with this value."""
    return b"\xa3\x62id%b\x64data%b\x64prev%b" % (link(A), data, link(A))


def keyed(keys: int) -> bytes:
    names = [b"%06d" % at for at in range(keys)]
    Random(1).shuffle(names)
    return b"\xba" + keys.to_bytes(4, "big") + b"".join(b"\x66" + name + b"\x01" for name in names)


ORDINARY = event(
    encode_dag_cbor([{"name": "of some length", "number": at, "of": CID(A)} for at in range(2000)])
)
VALUES = {
    "numbers": repeated(b"\x01"),
    "empty lists": repeated(b"\x80"),
    "empty maps": repeated(b"\xa0"),
    "lists of an empty list": repeated(b"\x81\x80"),
    "lists, 100 deep": repeated(b"\x81" * 100 + b"\x01"),
    "lists of two, 100 deep": repeated(b"\x82\x01" * 100 + b"\x01"),
    "maps, 100 deep": repeated(b"\xa1\x61a" * 100 + b"\x01"),
    "lists, 100 deep, strictly encoded": repeated(b"\x81" * 100 + b"\x01", first=b"\x01"),
    "empty maps, strictly encoded": repeated(b"\xa0", first=b"\x01"),
    "texts of one character": repeated(b"\x61a"),
    "short links": repeated(link(b"\x01\x71\x00\x00")),
    "floats": repeated(b"\xfb" + bytes(8)),
    "a map of many keys": keyed(BYTES // 8),
}
OFTEN = ("lists of two, 100 deep", "texts of one character", "short links")
"""Those that take the longest."""

BLOCKS = {
    **{f"an event with {name}": event(value) for name, value in VALUES.items()},
    **{f"a node of {name}": VALUES[name] for name in OFTEN},
    **{f"a proof with {name}": b"\xa1\x61z" + VALUES[name] for name in OFTEN},
    "a proof with lists without a length": b"\xa1\x61z\x9f" + b"\x9f\xff" * 70_000 + b"\xff",
    "a capability with many resources": b"\xa1\x61p\xa1\x69resources" + repeated(b"\x61a"),
    "a CID of numbers": b"\x84" + VALUES["numbers"] + b"\x01\x01\x01",
    "many signatures": b"\x82" + bytes_item(A) + repeated(b"\x83\xf6\xf6\x40", first=b"\x80"),
    "many controllers": b"\x81\x83" + repeated(b"\x61a") + b"\xf6\x40",
}
HEADERS = {
    "lists inside each other": b'{"a":' + b"[" * 70_000 + b"]" * 70_000 + b',"cap":"x"}',
    "many values": b'{"a":[' + b"1," * 70_000 + b'1],"cap":"x"}',
    "many keys": b"{" + b'"":1,' * 28_000 + b'"cap":"x"}',
    **{
        f"a text in base {base.decode()}": b'{"cap":"ipfs://%b"}' % (base + b"2" * BYTES)
        for base in (b"b", b"f", b"z", b"k", b"9", b"R")
    },
}
READ: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    **{name: (read_block, content) for name, content in BLOCKS.items()},
    **{f"a header with {name}": (capability_cid, content) for name, content in HEADERS.items()},
}


def seconds(read: Callable[[bytes], object], content: bytes) -> float:
    """What the processor takes for each byte."""
    started = time.process_time()
    read(content)
    return (time.process_time() - started) / len(content)


def test_a_hostile_block_takes_no_more_than_some_times_as_long_as_an_ordinary_one() -> None:
    read_block(ORDINARY)
    ordinary = min(seconds(read_block, ORDINARY) for _ in range(3))
    long = {name for name, both in READ.items() if seconds(*both) > MOST_TIMES * ordinary}
    # once more, because another program may have been in the way
    assert {name for name in long if seconds(*READ[name]) > MOST_TIMES * ordinary} == set()


def test_hostile_blocks_take_little_more_memory_than_texts(tmp_path: Path) -> None:
    hostile = (b"\xa0", b"\x81" * 100 + b"\x01", b"\xa1\x61a" * 100 + b"\x01")
    peaks = []
    for name, values in (
        ("texts", [encode_dag_cbor("x" * LARGE)]),
        ("hostile", [repeated(value, size=LARGE) for value in hostile]),
    ):
        events = [
            build_event(INIT.stream, "data", INIT.cid, sign(event(value), INIT.stream.controller))
            for value in values
        ]
        path = store(tmp_path / f"{name}.db", [INIT, *events], [*range(1, len(values) + 2)])
        ended, peak = run_measured(ceramic_order("verify", path, "--json"), code=None)
        assert ended.document["events"] == len(values) + 1
        peaks.append(peak)
    assert peaks[1] - peaks[0] < MOST_KIB
