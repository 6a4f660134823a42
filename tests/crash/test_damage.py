"""What is damaged is named, file or event; what is whole is delivered; nothing is silent."""

import os
from collections import defaultdict
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq
import pytest

from connectors.errors import RETRY
from connectors.sqlite import SqliteError, connect, query, scalar
from operators.schemas import Reason
from tests.crash.conftest import Children, Forked, Template, check_numbers
from tests.support.oracle import Contents, check, deliverable, read
from tests.support.program import Ended, ceramic_order, run

PAGE = 4096
SAID = (
    "file is not a database",
    "malformed",
    "unsupported file format",
    "attempt to write a readonly database",
    "holds a delivered number that is none",
    "by its header it has",
    "the index is damaged",
    "integrity_check",
)
"""What is said of a damage; the first four are SQLite's words."""


class Report:
    """What a run lists as not delivered."""

    def __init__(self, folder: Path) -> None:
        self.rejected = pq.read_table(folder / "rejected.parquet").to_pylist()
        self.waiting = pq.read_table(folder / "waiting.parquet").to_pylist()


def _run(children: Children | Forked, database: Path) -> Ended:
    return children.run(database, "--quiet", "--report", str(children.folder / "report"))


def _check_damaged(template: Template, damaged: bytes, children: Children | Forked) -> int:
    """Run on a damaged copy of a database; the exit code."""
    database = template.copy(children.folder)
    database.write_bytes(damaged)
    before = template.contents.numbers
    with suppress(SqliteError, OSError, ValueError):
        before = _numbers(database, template)
    database.write_bytes(damaged)
    ended = _run(children, database)
    match ended.code:
        case 0:
            report = Report(children.folder / "report")
            _check_all_left_is_listed(database, report)
            # where the damage changed a number, the table contradicts its index, and the run goes
            # by the index
            if before == template.contents.numbers:
                _check_delivered(database, template)
        case 2:
            assert any(words in ended.err for words in SAID), ended.err
            assert "Nothing was changed" in ended.err
            assert database.read_bytes() == damaged
        case 3:
            assert any(words in ended.err for words in SAID), ended.err
            assert ended.kept() is not None, ended.err
            # no rerun mends that
            assert "malformed" not in ended.err or RETRY not in ended.err
            if before == template.contents.numbers:
                with suppress(SqliteError, OSError, ValueError):  # the table is what is damaged
                    assert _check_delivered(database, template) == ended.kept(), ended.err
        case _:
            pytest.fail(str(ended))
    return ended.code


def _numbers(database: Path, template: Template) -> dict[bytes, int | None]:
    """The numbers in a table that may be damaged, by the CIDs that stood in its rows before."""
    with closing(connect(template.path)) as connection:
        intact = query(connection, "SELECT rowid, cid FROM ceramic_one_event")
    cids = dict(zip(*(column.to_pylist() for column in intact.columns), strict=True))
    return {
        cids[rowid]: number for rowid, number in _numbers_of_rows(database).items() if rowid in cids
    }


def _numbers_of_rows(database: Path) -> dict[int, int | None]:
    """The numbers by rowid; read from the table itself, because an index may be what is damaged."""
    with closing(connect(database)) as connection:
        # as literals: a damaged row may hold a value of another type
        table = query(
            connection, "SELECT rowid, quote(delivered) FROM ceramic_one_event NOT INDEXED"
        )
    rowids, literals = (column.to_pylist() for column in table.columns)
    return {
        rowid: None if number == "NULL" else int(number)
        for rowid, number in zip(rowids, literals, strict=True)
    }


def _check_all_left_is_listed(database: Path, report: Report) -> None:
    left = {rowid for rowid, number in _numbers_of_rows(database).items() if number is None}
    assert left == {row["rowid"] for row in report.rejected + report.waiting}, (
        "not all that was left is listed"
    )


def _check_delivered(database: Path, template: Template) -> int:
    """What was delivered could be, in whole batches and parents first; how many that are."""
    before = template.contents
    now = {
        cid: number for cid, number in _numbers(database, template).items() if number is not None
    }
    check_numbers(before, dict(sorted(now.items(), key=itemgetter(1))))
    new = {cid for cid in now if before.numbers[cid] is None}
    assert new <= deliverable(before)
    return len(new)


def _flip(content: bytes, bit: int) -> bytes:
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


def _check_flips(template: Template, bits: Iterable[int], children: Children | Forked) -> set[int]:
    """Run on a database with each of these bits flipped; the exit codes."""
    content, codes = template.path.read_bytes(), set()
    for bit in bits:
        byte = bit // 8
        place = f"byte {byte}, byte {byte % PAGE} of page {byte // PAGE + 1}"
        print(f"bit {bit % 8} of {place}")  # noqa: T201 # pytest shows it with a failure
        codes.add(_check_damaged(template, _flip(content, bit), children))
    return codes


def _pages_by_kind(template: Template, folder: Path) -> dict[tuple[str, str], list[int]]:
    """Page numbers by the table or index and by the level of its tree."""
    with closing(connect(template.copy(folder))) as connection:
        pages = query(
            connection, "SELECT name, pagetype, pageno FROM dbstat WHERE pageno > 1"
        ).to_pylist()
    kinds = defaultdict(list)
    for page in pages:
        kinds[page["name"], page["pagetype"]].append(page["pageno"])
    return kinds


def _some_bit(rng: Random, pages: list[int]) -> int:
    """A bit of one of these pages, every other time in the first bytes, which say what it is."""
    return (
        (rng.choice(pages) - 1) * PAGE + rng.randrange(rng.choice((12, PAGE)))
    ) * 8 + rng.randrange(8)


def test_a_flipped_bit_of_the_header_that_matters_is_refused(
    small: Template, children: Children
) -> None:
    # magic, page size, version for reading, payload fractions, page count
    assert _check_flips(small, [8 * byte for byte in (0, 16, 19, 21, 31)], children) == {2}


def test_a_flipped_bit_of_any_page_is_named_or_harmless(
    small: Template, children: Children, rng: Random
) -> None:
    kinds = _pages_by_kind(small, children.folder)
    bits = [_some_bit(rng, kinds[kind]) for kind in rng.sample(sorted(kinds), 6)]
    codes = _check_flips(small, bits, children)
    # what a plan or a check meets is found before anything is changed
    assert codes <= {0, 2, 3}
    assert codes > {0}


def test_a_damaged_index_of_what_is_undelivered_hides_no_event(
    small: Template, children: Children, rng: Random
) -> None:
    leaves = _pages_by_kind(small, children.folder)["sqlite_autoindex_ceramic_one_event_2", "leaf"]
    assert _check_flips(small, [_some_bit(rng, leaves) for _ in range(4)], children) <= {0, 2, 3}


@pytest.mark.soak
def test_each_bit_of_the_header(small: Template, forked: Forked) -> None:
    _check_flips(small, range(800), forked)


@pytest.mark.soak
@pytest.mark.parametrize("rng", range(10, 14), indirect=True)
def test_many_flipped_bits(small: Template, forked: Forked, rng: Random) -> None:
    kinds = sorted(_pages_by_kind(small, forked.folder).items())
    _check_flips(small, [_some_bit(rng, rng.choice(kinds)[1]) for _ in range(400)], forked)


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_a_truncated_file_is_refused(small: Template, children: Children, share: float) -> None:
    content = small.path.read_bytes()
    assert _check_damaged(small, content[: int(share * len(content))], children) == 2


@pytest.mark.parametrize("pages", [1, 1 << 30])
def test_a_file_that_is_longer_than_its_header_says_is_refused_by_a_dry_run_too(
    small: Template, children: Children, pages: int
) -> None:
    database = small.copy(children.folder)
    size = database.stat().st_size
    os.truncate(database, size + pages * PAGE)
    said = [run(ceramic_order("run", database, *more), code=2).err for more in ([], ["--dry-run"])]
    assert said[0] == said[1]
    assert f"`{size + pages * PAGE:,}` bytes, but by its header it has `{size:,}`" in said[0]
    assert database.stat().st_size == size + pages * PAGE


DELETE_BLOCK = "DELETE FROM ceramic_one_block WHERE multihash = ? RETURNING multihash"
WRITE_BLOCK = """
    INSERT INTO ceramic_one_block VALUES (?, ?)
    ON CONFLICT (multihash) DO UPDATE SET bytes = excluded.bytes RETURNING multihash
"""


@dataclass(frozen=True)
class Stored:
    """An undelivered data event whose two blocks are its own."""

    cid: bytes
    root: bytes
    payload: bytes
    """Multihashes."""


def _choose(database: Path, truth: Contents, count: int, rng: Random) -> list[Stored]:
    """Some events that would be delivered, none of them above or below another."""
    with closing(connect(database)) as connection:
        rows = query(
            connection, "SELECT event_cid, block_multihash, root FROM ceramic_one_event_block"
        ).to_pylist()
    listed = defaultdict(list)
    for row in rows:
        listed[row["event_cid"]].append((row["root"], row["block_multihash"]))
    whole = sorted(cid for cid in deliverable(truth) if len(listed[cid]) == 2)
    rng.shuffle(whole)
    of_streams = {truth.places[cid].stream: cid for cid in whole}
    return [
        Stored(cid, *(block for _, block in sorted(listed[cid], reverse=True)))
        for cid in list(of_streams.values())[:count]
    ]


def _block(connection: Any, multihash: bytes) -> bytes:
    found: bytes = scalar(
        connection, "SELECT bytes FROM ceramic_one_block WHERE multihash = ?", (multihash,)
    )
    return found


def _write_block(connection: Any, multihash: bytes, content: bytes | None) -> None:
    """Store a block in place of the one of this name, or delete that."""
    parameters = (multihash,) if content is None else (multihash, content)
    assert (
        query(connection, DELETE_BLOCK if content is None else WRITE_BLOCK, parameters).num_rows
        == 1
    )


def test_a_damaged_or_missing_block_rejects_its_event_and_a_rerun_with_the_block_delivers_it(
    small: Template, children: Children, rng: Random
) -> None:
    database = small.copy(children.folder)
    one, two, three, four = _choose(database, small.contents, 4, rng)
    expected = {
        one.cid: Reason.NOT_DAG_CBOR,
        two.cid: Reason.NOT_DAG_CBOR,
        three.cid: Reason.ROOT_MISSING,
        four.cid: Reason.PAYLOAD_MISSING,
    }
    with closing(connect(database, "rw")) as connection:
        blocks = {
            multihash: _block(connection, multihash)
            for multihash in (one.root, two.payload, three.root, four.payload)
        }
        for multihash in (one.root, two.payload):
            _write_block(connection, multihash, _flip(blocks[multihash], 7))
        for multihash in (three.root, four.payload):
            _write_block(connection, multihash, None)
    before = read(database)
    ended = _run(children, database)
    assert ended.code == 0, ended
    report = Report(children.folder / "report")
    assert {row["cid"]: row["reason"] for row in report.rejected} == expected
    _check_all_left_is_listed(database, report)
    _check_delivered(database, small)
    delivered = check(before, read(database))
    below = deliverable(small.contents) - delivered - expected.keys()
    assert below
    waiting = [row for row in report.waiting if row["cid"] in below]
    assert {row["cid"] for row in waiting} == below
    assert {row["reason"] for row in waiting} == {Reason.PREV_REJECTED}
    assert {row["cause"] for row in waiting} <= expected.keys()

    with closing(connect(database, "rw")) as connection:
        for multihash, content in blocks.items():
            _write_block(connection, multihash, content)
    before = read(database)
    assert _run(children, database).code == 0
    assert check(before, read(database)) == below | expected.keys()


def _check_flipped_blocks(count: int, large: Template, children: Children, rng: Random) -> None:
    database = large.copy(children.folder)
    chosen = _choose(database, large.contents, count, rng)
    with closing(connect(database, "rw")) as connection:
        for event in chosen:
            multihash = rng.choice([event.root, event.payload])
            content = _block(connection, multihash)
            _write_block(connection, multihash, _flip(content, rng.randrange(8 * len(content))))
    before = read(database)
    ended = _run(children, database)
    assert ended.code == 0, ended
    report = Report(children.folder / "report")
    _check_all_left_is_listed(database, report)
    _check_delivered(database, large)
    after = read(database)
    # a node reads some blocks that the oracle's decoder refuses, for example keys that are byte
    # strings: of those `verify` checks, which shares no decoding with the run
    loose = {cid for cid, number in after.numbers.items() if number} - before.places.keys()
    places = before.places | {cid: large.contents.places[cid] for cid in loose}
    before, after = replace(before, places=places), replace(after, places=places)
    check(before, after, {row["cid"] for row in report.rejected})
    rules = run(ceramic_order("verify", database, "--json"), code=None).document["rules"]
    # and `run` rejects a few that a node takes (tests/hostile/form_differences.py)
    assert not [rule for rule in rules if rule["violations"] and rule["rule"] != "nothing-left"]
    assert 0 < len(report.rejected) <= count


def test_a_bit_flipped_in_many_blocks_costs_at_most_their_events(
    large: Template, children: Children, rng: Random
) -> None:
    _check_flipped_blocks(200, large, children, rng)


@pytest.mark.soak
@pytest.mark.parametrize("rng", range(10, 30), indirect=True)
def test_bits_flipped_in_blocks(large: Template, children: Children, rng: Random) -> None:
    _check_flipped_blocks(1000, large, children, rng)
