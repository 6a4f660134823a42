"""What other programs have written into a database since somebody looked last."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from connectors.plans import indexed_by, rows_between
from connectors.source import UndeliveredSource
from connectors.sqlite import Connection, query, scalar
from connectors.undelivered import FIRST, NAMED
from operators.encoding.cid import CBOR, JOSE

EVENT, BLOCK_TABLES = "ceramic_one_event", ("ceramic_one_block", "ceramic_one_event_block")

ROWS_TOGETHER = 8192
"""Rows that are asked for in one call."""

BLOCKS_TOGETHER = 4096
"""Rowids of new blocks that are looked at in one call: each is looked up once, in some 3 us."""

NEXT_ROWID = "SELECT min(rowid) FROM {} WHERE rowid > ?"  # a constant of ours
CID_OF = "SELECT coalesce(CAST(cid AS BLOB), x'') AS cid FROM ceramic_one_event WHERE rowid = ?"

ROOT_CODECS = [pa.scalar(bytes((1, *codec)), pa.binary()) for codec in ((CBOR,), (JOSE, 1))]
"""How the CIDs of events begin; the multihashes of their root blocks follow."""
_NOTHING_BETWEEN = pa.scalar(b"", pa.binary())

HIGHEST_ROWID = "SELECT max(rowid) FROM {}"  # a constant of ours

Rowids = NDArray[np.int64]


class News:
    """Finds what is new, on one connection whose own writing does not count.

    New rows are those above the highest rowid that was seen: a table gives each row a larger one
    than its largest, unless a program says otherwise, or has deleted the largest. `undelivered`
    finds events at whatever rowid.
    """

    def __init__(self, connection: Connection) -> None:
        """Whatever the database holds now is not new."""
        self._connection = connection
        self._version = self._data_version()
        self._schema = schema_version(connection)
        self._undelivered = f"""
            SELECT rowid
            FROM ceramic_one_event {indexed_by(connection, "ceramic_one_event", "delivered")}
            WHERE delivered IS NULL AND rowid > ? ORDER BY rowid
        """  # constants and a name
        by_block = indexed_by(connection, "ceramic_one_event_block", "block_multihash")
        self._events_of = f"""
            SELECT coalesce(CAST(event_cid AS BLOB), x'') AS cid
            FROM ceramic_one_event_block {by_block} WHERE block_multihash = ?
        """  # constants and a name
        self._new_blocks = new_blocks(connection)
        self._new_event_blocks = new_event_blocks(connection)
        self._highest = {table: self._highest_rowid(table) for table in (EVENT, *BLOCK_TABLES)}

    def has_come(self) -> bool:
        """Whether another connection has committed anything since this was asked last.

        It only reads the memory that all connections share.
        """
        before, self._version = self._version, self._data_version()
        return self._version != before

    def _data_version(self) -> int:
        return int(scalar(self._connection, "PRAGMA data_version"))

    def is_rebuilt(self) -> bool:
        """Whether the schema was changed, or `VACUUM` has run: a rowid may mean another row now."""
        return schema_version(self._connection) != self._schema

    def events(self) -> Rowids:
        """The undelivered events above the highest rowid that was seen."""
        found = self._rowids(self._highest[EVENT])
        if len(found):
            self._highest[EVENT] = int(found[-1])
        return found

    def undelivered(self) -> Rowids:
        """All undelivered events."""
        return self._rowids(FIRST)

    def _rowids(self, after: int) -> Rowids:
        found = query(self._connection, self._undelivered, (after,))["rowid"]
        return np.asarray(found.combine_chunks()).astype(np.int64)

    def skip_blocks(self) -> None:
        """Count all blocks that are there as seen."""
        for table in BLOCK_TABLES:
            self._highest[table] = self._highest_rowid(table)

    def _highest_rowid(self, table: str) -> int:
        highest = scalar(self._connection, HIGHEST_ROWID.format(table))
        return FIRST if highest is None else int(highest)

    def blocks(self) -> Iterator[pa.Array]:
        """What new blocks, or new rows of event blocks, are for.

        These are CIDs of events, and the multihashes themselves.
        """
        block, event_block = BLOCK_TABLES
        for rows in self._new(event_block, self._new_event_blocks):
            yield rows["cid"].combine_chunks()
        for rows in self._new(block, self._new_blocks):
            multihash = rows["multihash"].combine_chunks()
            yield multihash
            for codec in ROOT_CODECS:
                yield pc.binary_join_element_wise(codec, multihash, _NOTHING_BETWEEN)
            with self._connection.cursor() as cursor:
                cursor.execute(self._events_of, pa.record_batch([multihash], names=["key"]))
                found = cursor.fetch_arrow_table()
            if found.num_rows:
                yield found["cid"].combine_chunks()

    def _new(self, table: str, sql: str) -> Iterator[pa.Table]:
        """The rows above the highest that was seen, some at a time."""
        last = self._highest_rowid(table)
        while (seen := self._highest[table]) < last:
            reached = min(seen + BLOCKS_TOGETHER, last)
            rows = query(self._connection, sql, (seen + 1, reached))
            if not rows.num_rows:
                # the next row lies further away, or all were deleted meanwhile
                following = scalar(self._connection, NEXT_ROWID.format(table), (seen,))
                reached = last if following is None else following - 1
            self._highest[table] = reached
            if rows.num_rows:
                yield rows


def new_blocks(connection: Connection) -> str:
    """The statement for the blocks from one rowid to another."""
    named = {"rowid": "rowid", "multihash": "coalesce(CAST(multihash AS BLOB), x'')"}
    return rows_between(connection, "ceramic_one_block", named)


def new_event_blocks(connection: Connection) -> str:
    """The statement for the rows of event blocks from one rowid to another."""
    named = {"rowid": "rowid", "cid": "coalesce(CAST(event_cid AS BLOB), x'')"}
    return rows_between(connection, "ceramic_one_event_block", named)


def schema_version(connection: Connection) -> int:
    """A number that changes with the schema, and with `VACUUM`, which may move rows."""
    return int(scalar(connection, "PRAGMA schema_version"))


@dataclass(frozen=True)
class ListedSource(UndeliveredSource):
    """The events of some rows, as far as they are undelivered; one partition reads all."""

    rowids: Rowids = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Which rows; they rise."""
    read: list[tuple[pa.Array, pa.Array]] = field(default_factory=list)
    """Gets the rowids and the CIDs of the events that were read."""

    def are_there(self, connection: Connection, rowids: pa.Array) -> bool:
        """Whether these rows still are the events that were read: a rowid may be used again."""
        read = pa.Table.from_arrays(
            [pa.chunked_array(column) for column in zip(*self.read, strict=True)], ["rowid", "cid"]
        )
        with connection.cursor() as cursor:
            cursor.execute(CID_OF, pa.record_batch([rowids], names=["rowid"]))
            found = cursor.fetch_arrow_table()
        at = pc.index_in(rowids, value_set=read["rowid"].combine_chunks())
        return bool(found.num_rows and found["cid"].equals(read["cid"].take(at)))

    def runs(
        self,
        connection: Connection,
        part: str,  # noqa: ARG002 # there is one
        start: int,
    ) -> Iterator[pa.RecordBatch]:
        """The events of these rows from a rowid on, some at a time."""
        statement = f"""
            SELECT {NAMED} FROM ceramic_one_event WHERE rowid = ? AND +delivered IS NULL
        """  # constants
        rowids = self.rowids[np.searchsorted(self.rowids, start) :]
        with connection.cursor() as cursor:
            for first in range(0, len(rowids), ROWS_TOGETHER):
                some = pa.array(rowids[first : first + ROWS_TOGETHER])
                cursor.execute(statement, pa.record_batch([some], names=["rowid"]))
                found = cursor.fetch_arrow_table()
                for events in found.combine_chunks().to_batches() if found.num_rows else ():
                    self.read.append((events["rowid"], events["cid"]))
                    yield events
