"""Statements that keep their plan whatever the table `sqlite_stat1` says.

SQLite plans by these statistics. A node that ran `PRAGMA optimize` on its first events leaves those
of tables of a few rows; SQLite then reads a whole table for a range of rowids, or loses the end of
the range, and reading becomes quadratic.
"""

from collections.abc import Mapping

from connectors.sqlite import Connection, query

BOTH_ENDS = "USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"
"""What SQLite says of a plan that reads a range of rowids and nothing else."""


def rows_between(
    connection: Connection, table: str, columns: Mapping[str, str], condition: str = "TRUE"
) -> str:
    """A statement for the rows of `table` from one rowid to another, both included.

    The estimates make SQLite keep both ends of the range, unless by its statistics the table has
    one or two rows. Then each row is asked for by its rowid, in one statement: that takes twice as
    long, and SQLite plans it without any statistics.

    Args:
        connection: to the database whose statistics are asked.
        table: with rowids.
        columns: expression by name; none is ever NULL.
        condition: which rows are wanted.
    """
    named = ", ".join(f"{expression} AS {name}" for name, expression in columns.items())
    # all of these are constants
    scan = (
        f"SELECT {named} FROM {table} WHERE likelihood(rowid >= ?, 0.9) "
        f"AND likelihood(rowid <= ?, 0.9) AND {condition}"
    )
    if (
        query(connection, f"EXPLAIN QUERY PLAN {scan}", (0, 0))["detail"][0]
        .as_py()
        .endswith(BOTH_ENDS)
    ):
        return scan
    each = ", ".join(
        f"(SELECT {expression} FROM {table} WHERE rowid = at AND {condition}) AS {name}"
        for name, expression in columns.items()
    )
    return (
        "WITH RECURSIVE steps(at) AS (SELECT ? UNION ALL SELECT at + 1 FROM steps WHERE at < ?), "
        f"found AS MATERIALIZED (SELECT {each} FROM steps) "
        f"SELECT {', '.join(columns)} FROM found WHERE {next(iter(columns))} IS NOT NULL"
    )


def indexed_by(connection: Connection, table: str, column: str) -> str:
    """The clause that makes SQLite use the index of `table` that begins with `column`; "": none."""
    indices = query(
        connection,
        """
        SELECT list.name AS name FROM pragma_index_list(?) AS list, pragma_index_info(list.name)
        WHERE seqno = 0 AND pragma_index_info.name = ? AND NOT partial LIMIT 1
        """,
        (table, column),
    )
    return f'INDEXED BY "{indices["name"][0].as_py()}"' if indices.num_rows else ""
