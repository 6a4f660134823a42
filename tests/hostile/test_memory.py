"""What an event from the network can take of a run's memory, against as many bytes of text."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from cbrrr import CID, encode_dag_cbor

from flows.synth.events import Event, Witness, block, build_event, init_event, sign, time_event
from operators.check.shared_blocks import LARGEST_BLOCK
from tests.hostile.form_blocks import proof_and_way, protected_event
from tests.support.blocks import link
from tests.support.job import store
from tests.support.program import ceramic_order, run_measured

MOST_KIB = 32 * 1024
"""By how much they may raise a run's peak of memory above that."""

LARGEST = LARGEST_BLOCK - 1024
"""Bytes of a block, nearly as many as a node reads."""

INIT = init_event(1)


def _with_data(values: Sequence[bytes]) -> list[Event]:
    ident, parent = b"\x62id" + link(INIT.cid), b"\x64prev" + link(INIT.cid)
    payloads = [b"\xa3" + ident + b"\x64data" + value + parent for value in values]
    return [
        build_event(INIT.stream, "data", INIT.cid, sign(payload, INIT.stream.controller))
        for payload in payloads
    ]


def _list_of(items: int, item: bytes, number: int) -> bytes:
    return b"\x9a" + (items + 1).to_bytes(4, "big") + item * items + encode_dag_cbor(number)


def _in_header(value: bytes) -> list[Event]:
    ident, parent = b"\x62id" + link(INIT.cid), b"\x64prev" + link(INIT.cid)
    header = b"\x66header\xa1\x67unknown" + value
    payload = b"\xa4" + ident + b"\x64data\xf6" + parent + header
    signed = sign(payload, INIT.stream.controller)
    return [build_event(INIT.stream, "data", INIT.cid, signed)]


def _text_of(size: int, number: int) -> bytes:
    return encode_dag_cbor(f"{number}" + "x" * size)


def _headed(escaped: str, number: int) -> Event:
    return protected_event(INIT.stream, INIT.cid, str(number), (escaped % number).encode())


def _below_a_node(items: int, number: int) -> Event:
    others = [CID(block(b"%d %d" % (number, at)).cid) for at in range(items)]
    node = block(encode_dag_cbor([*others, CID(INIT.cid)]))
    proof, _, _ = proof_and_way(
        INIT.cid, f"{number}", lambda fields: {**fields, "root": CID(node.cid)}
    )
    return time_event(INIT.stream, INIT.cid, Witness(proof, str(items), (node,)))


HOSTILE: dict[str, tuple[list[Event], list[Event]]] = {
    "a block of empty maps": (
        _with_data([_list_of(LARGEST, b"\xa0", 0)]),
        _with_data([_text_of(LARGEST, 0)]),
    ),
    "an unknown field of lists in a header": (
        _in_header(_list_of(LARGEST // 4, b"\x81\x80", 0)),
        _in_header(_text_of(LARGEST // 2, 0)),
    ),
    "empty maps": (
        _with_data([_list_of(130_000, b"\xa0", at) for at in range(100)]),
        _with_data([_text_of(130_000, at) for at in range(100)]),
    ),
    "headers with a backslash": (
        [_headed('{"a":"%d' + "x" * 60_000 + '\\n"}', at) for at in range(400)],
        [_headed('{"a":"%d' + "x" * 60_000 + '."}', at) for at in range(400)],
    ),
    "nodes of 12,000 links": (
        [_below_a_node(12_000, at) for at in range(30)],
        _with_data([_text_of(500_000, at) for at in range(30)]),
    ),
}


@pytest.mark.parametrize(
    "name",
    [
        "a block of empty maps",
        "empty maps",
        *(
            pytest.param(name, marks=pytest.mark.soak)
            for name in (
                "an unknown field of lists in a header",
                "headers with a backslash",
                "nodes of 12,000 links",
            )
        ),
    ],
)
def test_hostile_blocks_take_little_more_memory_than_texts(tmp_path: Path, name: str) -> None:
    peaks = []
    for kind, events in zip(("hostile", "texts"), HOSTILE[name], strict=True):
        path = store(tmp_path / f"{kind}.db", [INIT, *events])
        ended, peak = run_measured(ceramic_order("run", path, "--json"))
        assert (ended.code, ended.document["delivered"]) == (0, len(events))
        peaks.append(peak)
    assert peaks[0] - peaks[1] < MOST_KIB
