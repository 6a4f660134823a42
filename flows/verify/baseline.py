"""What differs between a database and its baseline, `delivered` apart.

Both files are read at the same time in rowid order and compared page by page, so two equal
databases cost two sequential reads and a comparison of memory. Only pages that differ go to DuckDB.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import zip_longest
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from connectors.sqlite import Connection, query, scalar
from flows.verify.derive import sql
from flows.verify.load import Progress, insert
from flows.verify.rows import BATCH_ROWS, LONG_VALUE, connect_immutable, pieces, stream

CHANGE = pa.schema(
    [
        pa.field("table_name", pa.string(), nullable=False),
        pa.field("id", pa.int64()),  # rowid; null: the table as a whole
        pa.field("cid", pa.binary()),  # of the event; null: the row names none
        pa.field("detail", pa.string(), nullable=False),
    ]
)
"""Rows of the table `change` (sql/stored.sql)."""

_FIRST = -(1 << 63)
_LAST = (1 << 63) - 1
_NOT_COMPARED = ("ceramic_one_event", "delivered")
_CID_COLUMNS = {"ceramic_one_event": "cid", "ceramic_one_event_block": "event_cid"}
_DEFINITIONS = "SELECT name, type || ' ' || coalesce(sql, '') AS definition FROM sqlite_master"
_TABLES = """
    SELECT name, wr FROM pragma_table_list
    WHERE schema = 'main' AND type IN ('table', 'shadow') AND name <> 'sqlite_schema'
"""
_COLUMNS = "SELECT name, pk FROM pragma_table_info(?)"


Thing = TypeVar("Thing")


class _Both(NamedTuple, Generic[Thing]):
    """A thing of the database, and the same thing of its baseline."""

    now: Thing
    before: Thing


class _Table(NamedTuple):
    """How a table is read: all values as bytes, so that pages compare whatever the types are."""

    name: str
    columns: list[str]
    key: list[str]
    """Primary key, if the table has no rowid; else empty."""

    @property
    def schema(self) -> pa.Schema:
        """The schema of a page."""
        values = [(f"v{place}", pa.binary()) for place in range(len(self.columns))]
        return pa.schema(
            [
                ("id", pa.int64()),
                ("cid", pa.binary()),
                ("types", pa.string()),
                ("is_long", pa.int64()),
                *values,
            ]
        )

    def select(self, *, with_long: bool) -> str:
        """A statement that selects all rows in the columns of `schema`.

        `types` distinguishes values that have the same bytes. A value of more than LONG_VALUE bytes
        is left empty unless `with_long`.
        """
        quoted = [_quoted(column) for column in self.columns]
        types = " || ".join(f"typeof({column})" for column in quoted)
        is_long = " OR ".join(f"coalesce(length({column}) > {LONG_VALUE}, 0)" for column in quoted)
        limit = "" if with_long else f" AND length({{0}}) <= {LONG_VALUE}"
        value = f"CASE WHEN {{0}} IS NOT NULL{limit} THEN CAST({{0}} AS BLOB) ELSE x'' END"
        values = ", ".join(
            f"{value.format(column)} AS v{place}" for place, column in enumerate(quoted)
        )
        cid = (
            f"CAST(coalesce({_CID_COLUMNS[self.name]}, x'') AS BLOB)"
            if self.name in _CID_COLUMNS
            else "x''"
        )
        rowid = "0" if self.key else "rowid"
        columns = f"{rowid} AS id, {cid} AS cid, {types} AS types, {is_long} AS is_long, {values}"
        return f"SELECT {columns} FROM {_quoted(self.name)}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def compare_with_baseline(
    tables: duckdb.DuckDBPyConnection, database: Path, baseline: Path, on_rows: Progress
) -> None:
    """Fill `change` with all rows that were added, removed or altered, and all changed definitions.

    Args:
        tables: a DuckDB connection with the tables of sql/stored.sql.
        database: the database to verify.
        baseline: its copy from before.
        on_rows: gets how many rows have been compared, and about how many there are.

    Raises:
        READ_ERRORS: SQLite can't read one of the files.
    """
    with ExitStack() as opened:
        readers = opened.enter_context(ThreadPoolExecutor(2))
        both = _Both(
            *(
                opened.enter_context(closing(connect_immutable(path)))
                for path in (database, baseline)
            )
        )
        _note(tables, _redefined(both))
        shared = _shared_tables(both)
        counts = [
            scalar(both.now, f"SELECT max(rowid) FROM {_quoted(table.name)}") or 0
            for table in shared
            if not table.key
        ]
        done = 0

        def on_page(rows: int) -> None:
            nonlocal done
            done += rows
            on_rows(done, sum(counts))

        for table in shared:
            if table.key:
                _compare_whole(tables, both, table)
            else:
                _compare_pages(tables, both, table, readers, on_page)


def _note(
    tables: duckdb.DuckDBPyConnection, changes: list[tuple[str, int | None, bytes | None, str]]
) -> None:
    columns = zip(*changes, strict=True) if changes else ((),) * len(CHANGE)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, CHANGE, strict=True)]
    insert(tables, "change", pa.table(arrays, schema=CHANGE))


def _redefined(both: _Both[Connection]) -> list[tuple[str, int | None, bytes | None, str]]:
    definitions = _Both(
        *(dict(zip(*query(one, _DEFINITIONS).to_pydict().values(), strict=True)) for one in both)
    )
    changes: list[tuple[str, int | None, bytes | None, str]] = []
    for name in sorted(definitions.now.keys() | definitions.before.keys()):
        now, before = definitions.now.get(name), definitions.before.get(name)
        if now != before:
            what = (
                "is new"
                if before is None
                else "is gone"
                if now is None
                else "is defined differently"
            )
            changes.append((name, None, None, what))
    return changes


def _shared_tables(both: _Both[Connection]) -> list[_Table]:
    names = _Both(
        *(dict(zip(*query(one, _TABLES).to_pydict().values(), strict=True)) for one in both)
    )
    shared = []
    for name in sorted(
        name for name, without_rowid in names.now.items() if names.before.get(name) == without_rowid
    ):
        columns = _Both(*(query(one, _COLUMNS, (name,)).to_pylist() for one in both))
        old_names = {column["name"] for column in columns.before}
        kept = [
            column
            for column in columns.now
            if column["name"] in old_names and (name, column["name"]) != _NOT_COMPARED
        ]
        key = (
            sorted((column["pk"], column["name"]) for column in kept if column["pk"])
            if names.now[name]
            else []
        )
        shared.append(
            _Table(name, [column["name"] for column in kept], [column for _, column in key])
        )
    return shared


def _compare_whole(
    tables: duckdb.DuckDBPyConnection, both: _Both[Connection], table: _Table
) -> None:
    # no table of a node is WITHOUT ROWID: of such a table only whether it differs is said
    select = f"{table.select(with_long=True)} ORDER BY {', '.join(map(_quoted, table.key))}"
    with stream(both.now, select) as now, stream(both.before, select) as before:
        if any(a is None or b is None or not a.equals(b) for a, b in zip_longest(now, before)):
            _note(tables, [(table.name, None, None, "rows differ")])


def _compare_pages(
    tables: duckdb.DuckDBPyConnection,
    both: _Both[Connection],
    table: _Table,
    readers: ThreadPoolExecutor,
    on_page: Callable[[int], None],
) -> None:
    select = f"{table.select(with_long=False)} WHERE rowid >= ? ORDER BY rowid LIMIT {BATCH_ROWS}"
    start, last = _FIRST, _FIRST
    while last < _LAST:
        pages = _Both(
            *readers.map(lambda one, start=start: _page(one, select, start, table.schema), both)
        )
        # a page that is not full is the table's last
        last = min(
            (page["id"][-1].as_py() for page in pages if page.num_rows == BATCH_ROWS),
            default=_LAST,
        )
        start = last + 1
        if not pages.now.equals(pages.before):
            tables.register("page_now", pages.now)
            tables.register("page_before", pages.before)
            tables.execute(sql("changed_rows"), {"table": table.name, "last": last}).fetchall()
        for row in _long_rows(pages.now) & _long_rows(pages.before):
            if _differs(both, table, row):
                cid = pages.now.filter(pc.equal(pages.now["id"], row))["cid"][0].as_py()
                _note(tables, [(table.name, row, cid or None, "altered")])
        on_page(pages.now.num_rows)


def _page(connection: Connection, select: str, start: int, schema: pa.Schema) -> pa.Table:
    page = query(connection, select, (start,))
    # without rows the driver does not know the types
    return page if page.num_rows else schema.empty_table()


def _long_rows(page: pa.Table) -> set[int]:
    return set(page.filter(pc.equal(page["is_long"], 1))["id"].to_pylist())


def _differs(both: _Both[Connection], table: _Table, row: int) -> bool:
    """Whether a row has another value, its types apart."""
    for column in map(_quoted, table.columns):
        values = (pieces(one, _quoted(table.name), column, row) for one in both)
        if any(now != before for now, before in zip_longest(*values)):
            return True
    return False
