"""Large blocks, wherever they lie: read about once, and never many of them in memory at a time."""

from collections.abc import Sequence
from contextlib import closing
from hashlib import sha512
from pathlib import Path
from random import Random

import pytest
from cbrrr import CID, DagCborTypes, encode_dag_cbor

from connectors.run_state import RunState
from connectors.source import UndeliveredSource
from connectors.sqlite import connect, execute
from flows.synth.events import Event, block, build_event, capability, data_event, init_event
from tests.support.job import store
from tests.support.program import ceramic_order, run_measured

MEBIBYTE = 2**20

MOST_KIB = 128 * 1024
"""By how much large blocks may raise a run's peak of memory: two pages of blocks, what is decoded
of one, and the window."""

READ_AGAIN = 1.3
"""How often each byte of the database may be read: the pages of the indices more than once."""


def shared(events: int, size: int) -> list[Event]:
    """Siblings that are signed over one and the same payload."""
    init = init_event(1)
    link = CID(init.cid)
    fields: dict[str, DagCborTypes] = {"id": link, "prev": link, "data": "x" * size}
    payload = block(encode_dag_cbor(fields))
    siblings = []
    for n in range(events):
        signature: dict[str, DagCborTypes] = {
            "protected": b"{}" * 20,
            "signature": sha512(b"%d" % n).digest(),
        }
        content = encode_dag_cbor({"payload": payload.cid, "signatures": [signature]})
        envelope = block(content, 0x85, is_root=True)
        siblings.append(build_event(init.stream, "data", init.cid, (payload, envelope)))
    return [init, *siblings]


def together(sizes: Sequence[int]) -> list[Event]:
    """Siblings each with a payload of its own."""
    init = init_event(1)
    return [
        init,
        *(data_event(init.stream, init.cid, f"{n}" + "x" * size) for n, size in enumerate(sizes)),
    ]


def scattered(path: Path, blocks: int) -> None:
    """Put the blocks far from each other, in another order."""
    rows = list(range(1, blocks + 1))
    Random(1).shuffle(rows)
    with closing(connect(path, "rw")) as connection:
        for row, other in enumerate(rows, start=1):
            execute(
                connection,
                f"UPDATE ceramic_one_block SET rowid = {10_000 + 500 * other} WHERE rowid = {row}",
            )  # numbers


@pytest.fixture(scope="module")
def peak_kib(tmp_path_factory: pytest.TempPathFactory) -> int:
    """The peak of memory of a run with small blocks."""
    path = store(tmp_path_factory.mktemp("small") / "node.db", together([100] * 60))
    return run_measured(ceramic_order("run", path, "--json"))[1]


@pytest.mark.parametrize(
    "lie",
    [
        "shared",
        *(pytest.param(lie, marks=pytest.mark.soak) for lie in ("together", "scattered", "one")),
    ],
)
def test_large_blocks_take_no_more_memory_than_a_page(
    tmp_path: Path, peak_kib: int, lie: str
) -> None:
    events = {
        "shared": lambda: shared(250, MEBIBYTE),
        "together": lambda: together([3 * MEBIBYTE] * 100),
        "scattered": lambda: together([3 * MEBIBYTE] * 100),
        "one": lambda: together([100] * 50 + [10 * MEBIBYTE] + [100] * 50),
    }[lie]()
    path = store(tmp_path / "node.db", events)
    if lie == "scattered":
        scattered(path, 201)
    ended, peak = run_measured(ceramic_order("run", path, "--json"))
    assert ended.document["delivered"] + (lie == "one") == len(events) - 1
    assert peak - peak_kib < MOST_KIB


def test_no_byte_is_read_of_a_block_that_no_node_can_read(tmp_path: Path, peak_kib: int) -> None:
    init = init_event(1)
    cap = capability(init.stream.controller, 1)
    with_capability = data_event(init.stream, init.cid, "x", cap=cap)
    events = [*together([100, 64 * MEBIBYTE, 100, 100]), with_capability]
    path = store(tmp_path / "node.db", events)
    with closing(connect(path, "rw")) as connection:
        for large in (events[-2].blocks[-1], cap.block):
            execute(
                connection,
                f"UPDATE ceramic_one_block SET bytes = zeroblob({64 * MEBIBYTE}) "
                f"WHERE multihash = x'{large.cid[-34:].hex()}'",
            )  # numbers
    ended, peak = run_measured(ceramic_order("run", path, "--json"))
    assert ended.document["delivered"] == 2
    assert ended.document["reasons"]["block larger than 4 MiB"] == 2
    assert peak - peak_kib < 64 * 1024


def bytes_read() -> int:
    """What this process has read so far, from wherever."""
    name, count = Path("/proc/self/io").read_text().splitlines()[0].split()
    assert name == "rchar:"
    return int(count)


@pytest.mark.parametrize("lie", ["together", "scattered"])
def test_large_blocks_are_read_about_once(tmp_path: Path, lie: str) -> None:
    path = store(tmp_path / "node.db", together([200_000] * 100))
    if lie == "scattered":
        scattered(path, 201)
    before = bytes_read()
    with closing(connect(path)) as connection:
        source = UndeliveredSource(path, RunState(), 1)
        pages = list(source.pages(connection, "0/1"))
    assert sum(page.events.num_rows for page in pages) == 100
    assert bytes_read() - before < READ_AGAIN * path.stat().st_size
