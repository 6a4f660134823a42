"""Decodes the block table, in this process or in several: Python decodes in one thread of each.

    python -m flows.verify.decoder DATABASE PART PARTS [hashes]

writes Arrow streams to stdout, concatenated: each is a table of `READINGS`, `wrong_hash`, or
`counted`, and its schema's metadata names it.
"""

import gc
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from hashlib import sha1, sha3_256, sha256, sha512
from pathlib import Path
from typing import NamedTuple, Protocol

import pyarrow as pa
from Crypto.Hash import keccak

from connectors.sqlite import Connection, scalar, sqlite_says
from flows.verify.blocks import LARGEST_BLOCK, read_blocks
from flows.verify.rows import (
    LONG_VALUE,
    READ_ERRORS,
    connect_immutable,
    pieces,
    rowids,
    stream,
)

SLICE_ROWS = 65_536
"""The most blocks whose readings are handed on together, a slice: DuckDB takes a millisecond for
each insert, whatever it holds. The slices are dealt out to the parts in turn, because the regions
of a table hold different kinds of block."""

FLUSH_BYTES = 16 << 20
"""Readings of so many bytes are handed on before the slice ends."""

MOST_SLICES = 4_096
"""The most slices of a part: where rowids lie far apart, each slice spans more of them, because
looking where there are no rows takes time too."""

UNREADABLE = 2
"""The exit code if SQLite can't read the blocks; stderr then has SQLite's words."""

WRONG_HASH = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),  # rowid of the block
        pa.field("multihash", pa.binary(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
    ]
)
"""Blocks whose bytes do not have the hash that their multihash names."""


class _Hash(Protocol):
    def update(self, some: bytes, /) -> object: ...
    def digest(self) -> bytes: ...


_HASHES: dict[bytes, Callable[[bytes], _Hash]] = {
    b"\x11\x14": lambda start: sha1(start, usedforsecurity=False),
    b"\x12\x20": sha256,
    b"\x13\x40": sha512,
    b"\x16\x20": sha3_256,
    b"\x1b\x20": lambda start: keccak.new(digest_bits=256, data=start),
}
"""The hash functions that are known, by the start of a multihash: code and length of the digest."""

# no block is empty: an empty value stands for a block that is too long to be read with others
_BLOCKS = f"""
    SELECT rowid AS id, CAST(coalesce(multihash, x'') AS BLOB) AS multihash,
        CASE WHEN octet_length(bytes) <= {LONG_VALUE} THEN CAST(bytes AS BLOB) ELSE x'' END AS bytes
    FROM ceramic_one_block WHERE rowid BETWEEN ? AND ? ORDER BY rowid"""
# zeros stand for a block that no node can read, which are too many as well
_BLOCK = f"""
    SELECT CASE WHEN octet_length(bytes) > {LARGEST_BLOCK} THEN zeroblob({LARGEST_BLOCK} + 1)
        ELSE CAST(coalesce(bytes, x'') AS BLOB) END
    FROM ceramic_one_block WHERE rowid = ?"""


class DecodedPart(NamedTuple):
    """What was decoded from some thousand blocks.

    `tables` are those of `READINGS` and `wrong_hash`, by name; `blocks` counts the blocks, and
    `unknown_hashes` those whose hash function is not known, if hashes are compared.
    """

    tables: dict[str, pa.Table]
    blocks: int
    unknown_hashes: int


class _BlockPage(NamedTuple):
    id: list[int]
    multihash: list[bytes]
    bytes: list[bytes]


def decoded(
    path: Path, part: int = 0, parts: int = 1, *, hashes: bool
) -> Generator[DecodedPart, None, None]:
    """Read and decode one of equal `parts` of all blocks.

    Raises:
        READ_ERRORS: SQLite can't read them.
    """
    with closing(connect_immutable(path)) as connection:
        ends = rowids(connection, "ceramic_one_block")
        slices = parts * max(1, min(-(-ends.span // (parts * SLICE_ROWS)), MOST_SLICES))
        rows_of_slice = max(1, -(-ends.span // slices))
        for first in range(ends.first + part * rows_of_slice, ends.last + 1, parts * rows_of_slice):
            held: list[dict[str, pa.Table]] = []
            rows = size = unknown = 0
            for page in _pages(connection, first, min(first + rows_of_slice - 1, ends.last)):
                with _no_cyclic_garbage_collection():
                    tables = read_blocks(page.multihash, page.bytes)
                if hashes:
                    tables["wrong_hash"] = _wrong_hashes(connection, page)
                    unknown += sum(known[:2] not in _HASHES for known in page.multihash)
                held.append(tables)
                rows += len(page.id)
                size += sum(table.nbytes for table in tables.values())
                if size >= FLUSH_BYTES:
                    yield _concatenated(held, rows, unknown)
                    held, rows, size, unknown = [], 0, 0, 0
            yield _concatenated(held, rows, unknown)


def _concatenated(
    parts: list[dict[str, pa.Table]], blocks: int, unknown_hashes: int
) -> DecodedPart:
    by_name: dict[str, list[pa.Table]] = {}
    for tables in parts:
        for name, table in tables.items():
            by_name.setdefault(name, []).append(table)
    whole = {name: pa.concat_tables(tables) for name, tables in by_name.items()}
    return DecodedPart(whole, blocks, unknown_hashes)


def _pages(connection: Connection, first: int, last: int) -> Iterator[_BlockPage]:
    with stream(connection, _BLOCKS, (first, last)) as batches:
        for page in map(_page, batches):
            while b"" in page.bytes:
                row = page.bytes.index(b"")
                page.bytes.pop(row)
                rowid = page.id.pop(row)
                yield _BlockPage(
                    [rowid], [page.multihash.pop(row)], [scalar(connection, _BLOCK, (rowid,))]
                )
            yield page


def _page(batch: pa.RecordBatch) -> _BlockPage:
    # through numpy: Arrow itself would make two Python objects for each value
    return _BlockPage(
        *(batch[name].to_numpy(zero_copy_only=False).tolist() for name in _BlockPage._fields)
    )


def _wrong_hashes(connection: Connection, page: _BlockPage) -> pa.Table:
    wrong: list[tuple[int, bytes, str]] = []
    for rowid, multihash, block in zip(*page, strict=True):
        function = _HASHES.get(multihash[:2])
        if function is None:
            continue
        if len(block) > LARGEST_BLOCK:
            # what stands for it is not its content
            hashed = function(b"")
            for piece in pieces(connection, "ceramic_one_block", "bytes", rowid):
                hashed.update(piece)
        else:
            hashed = function(block)
        if hashed.digest() != multihash[2:]:
            wrong.append((rowid, multihash, f"block row {rowid}: its bytes have another hash"))
    columns = zip(*wrong, strict=True) if wrong else ((),) * len(WRONG_HASH)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, WRONG_HASH, strict=True)],
        schema=WRONG_HASH,
    )


@contextmanager
def _no_cyclic_garbage_collection() -> Iterator[None]:
    """Decoded blocks hold no cycles, yet looking for cycles takes a fifth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def main() -> int:
    """Write what `decoded` yields to stdout; returns the exit code."""
    # the process that reads the output decides when to stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    path, part, parts, *options = sys.argv[1:]
    try:
        for tables, *counts in decoded(
            Path(path), int(part), int(parts), hashes="hashes" in options
        ):
            counted = pa.table({"counts": counts})
            for name, table in {**tables, "counted": counted}.items():
                schema = table.schema.with_metadata({"table": name})
                with pa.ipc.new_stream(sys.stdout.buffer, schema) as writer:
                    writer.write_table(table.replace_schema_metadata(schema.metadata))
            sys.stdout.buffer.flush()
    except BrokenPipeError:
        sys.stdout = None
    except READ_ERRORS as error:
        sys.stderr.write(sqlite_says(error))
        return UNREADABLE
    return 0


if __name__ == "__main__":
    sys.exit(main())
