"""Blocks that are too large for a node: no command reads one whole, or it says so.

What each command says of them agrees.
"""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from cbrrr import DagCborTypes, encode_dag_cbor

from connectors.sqlite import connect, execute, scalar
from flows.jobs.left import left
from flows.jobs.options import RunOptions
from flows.jobs.why import why
from flows.synth.events import Block, block, build_event, capability, data_event, init_event
from flows.verify.verify import verify
from tests.support.job import store
from tests.support.program import ceramic_order, run, run_measured

MEBIBYTE = 2**20
LARGE_MEBIBYTES = [64, pytest.param(256, marks=pytest.mark.soak)]

MOST_KIB = 24 * 1024
"""By how much these blocks may raise the peak of a command that does not compare their bytes: four
MiB of zeros stand for each, in a few copies."""

COPIES = 1.75
"""How much of one such block `verify` has in memory that compares its bytes: it and pieces."""

INIT = init_event(1)
CAPABILITY = capability(INIT.stream.controller, 1)
PARENT = data_event(INIT.stream, INIT.cid, "delivered, its payload is large")
CHILD = data_event(INIT.stream, PARENT.cid, "a child of it")
PAYLOAD = data_event(INIT.stream, INIT.cid, "its payload is large")
ROOT = data_event(INIT.stream, INIT.cid, "its envelope is large")
BELOW = data_event(INIT.stream, ROOT.cid, "a child of that")
CAPABLE = data_event(INIT.stream, INIT.cid, "its capability is large", cap=CAPABILITY)
SOUND = data_event(INIT.stream, INIT.cid, "sound")
EVENTS = [INIT, PARENT, CHILD, PAYLOAD, ROOT, BELOW, CAPABLE, SOUND]
LARGE = [PARENT.blocks[0], PAYLOAD.blocks[0], ROOT.blocks[-1], CAPABILITY.block]

REASONS = {
    PAYLOAD.cid: "block larger than 4 MiB",
    ROOT.cid: "block larger than 4 MiB",
    BELOW.cid: "prev rejected",
    CHILD.cid: "prev rejected",
}
"""With and without the check of what a node needs, which alone looks at the capability."""


def stored(path: Path, mebibytes: int, large: Sequence[Block] = LARGE) -> Path:
    """The events; some blocks are so many MiB large."""
    store(path, EVENTS, [1, 2, *[None] * 6], without_init_cid=[PARENT.cid])
    with closing(connect(path, "rw")) as connection:
        for one in large:
            execute(
                connection,
                f"UPDATE ceramic_one_block SET bytes = zeroblob({mebibytes * MEBIBYTE}) "
                f"WHERE multihash = x'{one.multihash.hex()}'",
            )  # numbers
        execute(connection, "PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture(scope="module", params=LARGE_MEBIBYTES)
def mebibytes(request: pytest.FixtureRequest) -> int:
    size: int = request.param
    return size


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory, mebibytes: int) -> Path:
    return stored(tmp_path_factory.mktemp("large") / "node.db", mebibytes)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored(tmp_path_factory.mktemp("usual") / "node.db", 0, [])


def more_kib(usual: Path, database: Path, command: str, *options: str | Path) -> int:
    """By how much the large blocks raise the peak of a command."""
    peaks = [
        run_measured(ceramic_order(command, path, *options), code=None)[1]
        for path in (usual, database)
    ]
    return peaks[1] - peaks[0]


@pytest.mark.parametrize(
    "line",
    [
        ["run", "--dry-run", "--check", "links"],
        ["missing"],
        ["why", ROOT.cid.hex()],
        ["verify"],
        *(
            pytest.param(line, marks=pytest.mark.soak)
            for line in (
                ["run", "--dry-run"],
                ["status", "--reasons"],
                ["status", "--reasons", "--check", "links"],
                ["missing", "--check", "links"],
                *(
                    ["why", event.cid.hex(), "--check", check]
                    for event in (PAYLOAD, CHILD, BELOW, CAPABLE)
                    for check in ("node", "links")
                ),
            )
        ),
    ],
    ids=" ".join,
)
def test_no_block_is_read_whole_that_no_node_can_read(
    usual: Path, database: Path, line: list[str]
) -> None:
    assert more_kib(usual, database, *line) < MOST_KIB


@pytest.mark.parametrize(
    "options",
    [
        ["--hashes"],
        pytest.param(["--baseline"], marks=pytest.mark.soak),
        pytest.param(["--hashes", "--baseline"], marks=pytest.mark.soak),
    ],
    ids=" ".join,
)
def test_where_bytes_are_compared_one_such_block_is_in_memory_at_a_time(
    usual: Path, tmp_path: Path, mebibytes: int, options: list[str]
) -> None:
    database = stored(tmp_path / "node.db", mebibytes, LARGE[: 2 if "--baseline" in options else 1])
    both = 1 + ("--baseline" in options)
    given = [*options, database] if both == 2 else options
    most = MOST_KIB + both * COPIES * mebibytes * 1024
    assert more_kib(usual, database, "verify", *given) < most


@pytest.mark.parametrize("check", ["links", pytest.param("node", marks=pytest.mark.soak)])
def test_what_is_said_of_such_a_block_agrees(database: Path, check: str) -> None:
    reasons = REASONS | ({CAPABLE.cid: "capability unreadable"} if check == "node" else {})
    check_node = check == "node"
    would_be_left = left(database, RunOptions(check_node=check_node)).events
    assert (
        dict(zip(*would_be_left.select(["cid", "reason"]).to_pydict().values(), strict=True))
        == reasons
    )
    found = {cid: why(database, cid.hex(), check_node=check_node).reason for cid in reasons}
    assert found == reasons


def test_verify_says_of_each_delivered_event_that_run_would_not_deliver_it(tmp_path: Path) -> None:
    database = stored(tmp_path / "node.db", 5)
    with closing(connect(database, "rw")) as connection:
        execute(connection, "UPDATE ceramic_one_event SET delivered = rowid")
    ended = run(ceramic_order("verify", database, "--json"), code=1)
    (rule,) = (rule for rule in ended.document["rules"] if rule["rule"] == "block-readable")
    # the four whose own block is too large; of the others `parent-first` can't say anything
    assert rule["violations"] == len(LARGE)
    assert {"longer than 4 MiB with its CID"} == {
        found["detail"].split(": ")[1] for found in rule["first"]
    }


@pytest.mark.parametrize("spare", [0, 1])
def test_the_codec_of_an_envelope_takes_a_byte_more_than_that_of_its_payload(
    tmp_path: Path, spare: int
) -> None:
    payload = data_event(INIT.stream, INIT.cid, "signed over at length").blocks[0]
    size = 4 * MEBIBYTE - 37 + spare

    def envelope(signature: int) -> Block:
        fields: dict[str, DagCborTypes] = {"protected": b"{}", "signature": bytes(signature)}
        content = encode_dag_cbor({"payload": payload.cid, "signatures": [fields]})
        return block(content, 0x85, is_root=True)

    root = envelope(size - len(envelope(size).content) + size)
    assert len(root.content) == size
    event = build_event(INIT.stream, "data", INIT.cid, (payload, root))
    database = store(tmp_path / "node.db", [INIT, event])
    assert left(database, RunOptions()).events.num_rows == spare
    with closing(connect(database, "rw")) as connection:
        execute(connection, "UPDATE ceramic_one_event SET delivered = rowid")
    assert verify(database).failed == ({"block-readable"} if spare else set())


TOGETHER = 24
"""Blocks that are looked up in one call: 96 MiB."""
FOR_ONE_CALL_KIB = 64 * 1024
"""By how much they may raise the peak of a command that reads 8 MiB of them at a time."""


def crowd(path: Path, size: int) -> Path:
    """Events below delivered ones whose payloads, and others whose capabilities, are so large."""
    parents = [data_event(INIT.stream, INIT.cid, f"parent {at}") for at in range(TOGETHER)]
    children = [data_event(INIT.stream, parent.cid, "child") for parent in parents]
    capabilities = [capability(INIT.stream.controller, at) for at in range(TOGETHER)]
    capable = [data_event(INIT.stream, INIT.cid, at.session, cap=at) for at in capabilities]
    numbers = [*range(1, TOGETHER + 2), *[None] * (2 * TOGETHER)]
    noted = [parent.cid for parent in parents]
    store(path, [INIT, *parents, *children, *capable], numbers, without_init_cid=noted)
    large = [*(parent.blocks[0] for parent in parents), *(at.block for at in capabilities)]
    with closing(connect(path, "rw")) as connection:
        for one in large if size else []:
            execute(
                connection,
                f"UPDATE ceramic_one_block SET bytes = zeroblob({size}) "
                f"WHERE multihash = x'{one.multihash.hex()}'",
            )  # a number
        execute(connection, "PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.mark.parametrize("check", ["node", "links"])
def test_many_blocks_that_a_node_can_just_read_are_not_read_together(
    tmp_path: Path, check: str
) -> None:
    usual, crowded = crowd(tmp_path / "usual", 0), crowd(tmp_path / "large", 4 * MEBIBYTE - 100)
    more = more_kib(usual, crowded, "run", "--dry-run", "--check", check)
    assert more < FOR_ONE_CALL_KIB


def long_chain(path: Path, size: int) -> Path:
    """A chain of events whose payloads have about so many bytes."""
    events = [INIT]
    for at in range(TOGETHER):
        events.append(data_event(INIT.stream, events[-1].cid, f"{at}" + "x" * size))
    return store(path, events)


def test_a_chain_of_large_events_is_not_read_together(tmp_path: Path) -> None:
    usual, large = long_chain(tmp_path / "usual", 0), long_chain(tmp_path / "large", 4_000_000)
    peaks = []
    for path in (usual, large):
        with closing(connect(path)) as connection:
            last = scalar(connection, "SELECT hex(cid) FROM ceramic_one_event ORDER BY rowid DESC")
        peaks.append(run_measured(ceramic_order("why", path, last.lower()))[1])
    assert peaks[1] - peaks[0] < FOR_ONE_CALL_KIB
