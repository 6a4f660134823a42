"""Mutants of valid events, by the command line and, under soak, by both decoders."""

from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path

import cbrrr
import libipld
import pyarrow.parquet as pq
import pytest

from flows.synth.events import DAG_CBOR, DAG_JOSE, Event, block, build_event
from flows.verify.blocks import read_block
from operators.encoding.envelope import payload_multihash
from operators.event import Links, read_event
from operators.schemas import DATA, INIT, Reason
from tests.operators.test_mutants import LAX, STRICT, mutants
from tests.support.blocks import SIGNED, Raw, assert_read_row_by_row, envelope, valid
from tests.support.job import store
from tests.support.program import ceramic_order, python, run, start

MANY = 100_000
LARGEST_SEED = 2000
"""Bytes of a block that the fuzzer begins with."""
FUZZED = 100_000
"""Inputs of the fuzzer: it takes about a millisecond for each."""


def _endless(first_seed: int) -> Iterator[Raw]:
    seed = first_seed
    while True:
        yield from mutants(seed)
        seed += 1


def _stored(raw: Raw) -> Event:
    """A mutant as an event; what was changed has a new CID, and is named by it."""
    root = envelope(raw.payload) if raw.payload else raw.root
    codec = DAG_JOSE if raw.payload else DAG_CBOR
    blocks = (
        (block(raw.payload), block(root, codec, is_root=True))
        if raw.payload
        else (block(root, is_root=True),)
    )
    return build_event(SIGNED.stream, "data", SIGNED.cid, blocks)


def test_a_database_of_mutants_is_read_event_by_event(tmp_path: Path) -> None:
    events = list({event.cid: event for event in map(_stored, islice(_endless(4), 3000))}.values())
    store(tmp_path / "node.db", events, [None] * len(events))
    ended = run(
        ceramic_order(
            *("run", tmp_path / "node.db", "--check", "links"),
            *("--json", "--report", tmp_path / "report"),
        )
    )
    blocks = {one.multihash: one.content for event in events for one in event.blocks}
    found = {
        event.cid: read_event(event.blocks[-1].content, blocks.get(_named(event), b""))
        for event in events
    }
    unreadable = {cid: str(reason) for cid, reason in found.items() if isinstance(reason, Reason)}
    reported = {row["cid"]: row["reason"] for row in pq.read_table(tmp_path / "report").to_pylist()}
    assert {cid: reason for cid, reason in reported.items() if cid in unreadable} == unreadable
    document = ended.document
    assert document["delivered"] + len(reported) == document["discovered"] == len(events)
    assert min(len(unreadable), len(events) - len(unreadable)) > len(events) // 20


def _named(event: Event) -> bytes:
    return payload_multihash(event.blocks[-1].content) or b""


def _check_readers(some: Iterator[Raw]) -> None:
    """Hold the readers of `run` and of `verify` to one answer for each block as a payload."""
    outcomes: Counter[type] = Counter()
    for content in filter(None, chain.from_iterable(some)):
        read = read_event(envelope(content), content)
        outcomes[type(read)] += 1
        kinds = {INIT: ["block_init"], DATA: ["block_data"]}
        names = [name for name, _ in read_block(content)]
        # a node takes what is both for data
        found = [name for name in ("block_data", "block_init") if name in names][:1]
        assert found == (kinds[read.kind] if isinstance(read, Links) else []), content.hex()
    assert min(outcomes[Links], outcomes[Reason]) > outcomes.total() // 20


def test_run_and_verify_read_mutants_alike() -> None:
    _check_readers(islice(_endless(7), 2000))


@pytest.mark.soak
def test_run_and_verify_read_a_million_mutants_alike() -> None:
    _check_readers(islice(_endless(5000), 10 * MANY))


def check_decoders(content: bytes) -> str:
    """Hold both decoders to what is known of their differences; which of them took the block."""
    strict = lax = strict_error = lax_error = None
    try:
        strict = cbrrr.decode_dag_cbor(content)
    except (ValueError, RecursionError) as error:
        strict_error = str(error)
    try:
        lax = libipld.decode_dag_cbor(content)
    except (ValueError, RecursionError) as error:
        lax_error = str(error)
    if strict_error is not None and lax_error is None:
        assert strict_error in LAX, content.hex()
    elif lax_error is not None and strict_error is None:
        assert any(known in lax_error for known in STRICT), content.hex()
    elif lax_error is None:
        assert _plain(strict) == lax, content.hex()
    return f"{strict_error is None} {lax_error is None}"


def _plain(decoded: object) -> object:
    """What cbrrr decoded, with links as the plain bytes that libipld makes of them."""
    if isinstance(decoded, cbrrr.CID):
        return bytes(decoded)
    if isinstance(decoded, dict):
        return {key: _plain(value) for key, value in decoded.items()}
    return [_plain(one) for one in decoded] if isinstance(decoded, list) else decoded


@pytest.mark.soak
def test_a_hundred_thousand_mutants_are_read_alike_in_a_batch_and_alone() -> None:
    some = _endless(100)
    outcomes: Counter[type] = Counter()
    for _ in range(MANY // 8):
        batch = list(islice(some, 8))
        assert_read_row_by_row(batch)
        outcomes.update(type(read_event(*raw)) for raw in batch)
    assert min(outcomes[Links], outcomes[Reason]) > MANY // 20


@pytest.mark.soak
def test_the_decoders_agree_on_a_hundred_thousand_mutants_but_where_it_is_known() -> None:
    blocks = islice((one for one in chain.from_iterable(_endless(1000)) if one), MANY)
    assert len(Counter(map(check_decoders, blocks))) == 4, (
        "the mutants do not show all the differences"
    )


@pytest.mark.soak
@pytest.mark.skipif(
    find_spec("atheris") is None,
    reason="atheris is not installed; `pip install atheris` where it has a wheel",
)
def test_a_fuzzer_finds_no_block_that_breaks_the_decoders(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for name, content in enumerate(
        one for raw in valid() for one in raw if 0 < len(one) < LARGEST_SEED
    ):
        (corpus / str(name)).write_bytes(content)
    options = [f"-runs={FUZZED}", "-seed=1", f"-artifact_prefix={tmp_path}/"]
    child = start(python("-m", "tests.hostile.fuzz", corpus, *options))
    _, err = child.communicate()  # it takes minutes
    assert child.returncode == 0, err[-2000:]
