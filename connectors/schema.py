"""Whether a database is a ceramic-one database, and whether numbers can be written in it."""

import re
from dataclasses import dataclass
from pathlib import Path

from connectors.errors import CannotStartError
from connectors.sqlite import (
    DATABASE_ERRORS,
    Connection,
    execute,
    query,
    scalar,
    sqlite_errors,
    sqlite_says,
    starting,
)

REQUIRED_COLUMNS = {
    "ceramic_one_event": ("order_key", "cid", "delivered"),
    "ceramic_one_event_block": ("event_cid", "block_multihash", "codec", "root"),
    "ceramic_one_block": ("multihash", "bytes"),
}
"""What every schema version since v0.30 has (FORMAT.md, Tables)."""

WHICH = "Check that it is the node's database (`db.sqlite3` in its store folder)."

TRIGGERS = """
    SELECT name FROM sqlite_master
    WHERE type = 'trigger' AND lower(tbl_name) = 'ceramic_one_event' ORDER BY name
"""

ODD_INDICES = """
    SELECT list.name FROM pragma_index_list('ceramic_one_event') AS list
    WHERE EXISTS (SELECT 1 FROM pragma_index_xinfo(list.name) WHERE cid = -2)
       OR list."unique" AND list.partial
       OR list."unique"
      AND EXISTS (SELECT 1 FROM pragma_index_xinfo(list.name)
                  WHERE key AND lower(name) = 'delivered')
      AND (SELECT count(*) FROM pragma_index_xinfo(list.name) WHERE key) > 1
"""
"""Indices on expressions, those that want something to be unique in some rows only (which may be
those with a number), and those that want `delivered` to be unique together with other columns."""

CHECKED = re.compile(r"\bCHECK\s*\(", re.IGNORECASE)
"""A rule for rows, in the definition of a table."""

DEFINITION = "SELECT sql FROM sqlite_master WHERE lower(name) = 'ceramic_one_event'"

TYPE_OF_NUMBER = (
    "SELECT type FROM pragma_table_info('ceramic_one_event') WHERE lower(name) = 'delivered'"
)


@dataclass(frozen=True)
class Schema:
    """What differs between the versions of a ceramic database."""

    has_init_cid: bool
    """The event table has `init_cid` (since v0.36); older rows hold NULL in it."""
    migration: int | None
    """The newest migration that the node recorded, None where that table is missing."""
    version: str
    """The node's version, as far as the columns of the event table show it."""

    def to_json(self) -> dict[str, object]:
        """The part `schema` of every document of `--json`."""
        return {"migration": self.migration, "version": self.version}


def read_schema(connection: Connection, path: Path) -> Schema:
    """Check that this is a ceramic-one database of a known version.

    Raises:
        CannotStartError: it is not an SQLite database, it is damaged beyond opening, or a table or
            column is missing or of another kind.
    """
    try:
        tables = {table: _columns(connection, table) for table in REQUIRED_COLUMNS}
        kinds = {table: _kind(connection, table) for table in REQUIRED_COLUMNS}
        migration = None
        if "version" in _columns(connection, "_sqlx_migrations"):
            migration = scalar(
                connection, "SELECT max(CAST(version AS INTEGER)) FROM _sqlx_migrations"
            )
    except DATABASE_ERRORS as cause:
        said = sqlite_says(cause)
        advice = WHICH if "not a database" in said else "Check the file, its folder and the disk."
        raise CannotStartError(
            f"Can't read `{path}` as a database", why=said, advice=advice
        ) from cause
    for table, required in REQUIRED_COLUMNS.items():
        columns, kind = tables[table], kinds[table]
        if kind is None:
            raise CannotStartError(
                f"`{path}` is not a ceramic-one database",
                why=f"table `{table}` is missing",
                advice=WHICH,
            )
        missing = [column for column in required if column not in columns]
        if missing:
            raise _unknown_version(path, f"column `{table}.{missing[0]}` is missing")
        if kind != "table":
            what = "virtual table" if kind == "virtual" else kind
            raise _unknown_version(path, f"`{table}` is a {what}")
        if "rowid" in columns:
            raise _unknown_version(path, f"`{table}` has a column of its own named `rowid`")
        generated = [column for column in columns if columns[column]]
        if generated:
            raise _unknown_version(path, f"column `{table}.{generated[0]}` is generated")
        _require_known_words(
            connection, path, f"SELECT 1 FROM {table} ORDER BY {', '.join(required)}"
        )
    of_events = tables["ceramic_one_event"]
    version = (
        "v0.38 or later"
        if "is_time_event" in of_events
        else "v0.36 or v0.37"
        if "init_cid" in of_events
        else "before v0.36"
    )
    return Schema(has_init_cid="init_cid" in of_events, migration=migration, version=version)


def require_orderable(connection: Connection, path: Path) -> None:
    """Check that numbers can be written here, and that writing them changes nothing else.

    Raises:
        CannotStartError: the event table has triggers, or indices, a CHECK or a type that could
            forbid numbers.
    """
    advice = "Remove it, or ask who made it; no node does."
    with starting(path):
        triggers = _texts(connection, TRIGGERS)
        indices = _texts(connection, ODD_INDICES)
        type_of_number = _texts(connection, TYPE_OF_NUMBER)[0].upper()
        definition = _texts(connection, DEFINITION)[0]
    if triggers:
        names = ", ".join(f"`{name}`" for name in triggers)
        raise CannotStartError(
            f"`{path}` has triggers on `ceramic_one_event`, which would act on every number",
            why=names,
            advice="Remove them, or ask who made them; no node does.",
        )
    if indices:
        raise CannotStartError(
            f"`{path}` has an index on `ceramic_one_event` that could forbid a number",
            why=f"`{indices[0]}` is on an expression, or wants something to be unique in some rows "
            "only, or `delivered` together with others",
            advice=advice,
        )
    if CHECKED.search(definition):
        raise _unknown_version(path, "`ceramic_one_event` has a `CHECK` that could forbid a number")
    _require_known_words(connection, path, "UPDATE ceramic_one_event SET delivered = 1")
    # SQLite's rules of affinity: INT comes first, and an empty type is BLOB
    is_text = any(word in type_of_number for word in ("CHAR", "CLOB", "TEXT"))
    is_real = any(word in type_of_number for word in ("REAL", "FLOA", "DOUB"))
    if "INT" not in type_of_number and (is_text or is_real):
        raise _unknown_version(
            path, f"column `ceramic_one_event.delivered` has the type `{type_of_number}`"
        )


def _require_known_words(connection: Connection, path: Path, sql: str) -> None:
    """Check that columns and indices name no function or collation of another program.

    Raises:
        CannotStartError: one does; SQLite says so when it prepares a statement.
    """
    with sqlite_errors(
        f"`{path}` can be used only by the program that made it",
        CannotStartError,
        advice="Remove what is defined by it, or ask who made it; no node does.",
    ):
        execute(connection, f"EXPLAIN QUERY PLAN {sql}")


def _unknown_version(path: Path, why: str) -> CannotStartError:
    return CannotStartError(
        f"`{path}` is not a ceramic-one database of a known version", why=why, advice=WHICH
    )


def _columns(connection: Connection, table: str) -> dict[str, bool]:
    """The columns of a table in lower case, and whether each is generated."""
    rows = query(
        connection, "SELECT lower(name) AS name, hidden FROM pragma_table_xinfo(?)", (table,)
    )
    return {row["name"]: row["hidden"] != 0 for row in rows.to_pylist()}


def _kind(connection: Connection, table: str) -> str | None:
    """`table`, or what else has this name; None if nothing has."""
    found = query(
        connection,
        "SELECT type, wr FROM pragma_table_list WHERE schema = 'main' AND lower(name) = ?",
        (table,),
    ).to_pylist()
    if not found:
        return None
    return "table without rowids" if found[0]["wr"] else str(found[0]["type"])


def _texts(connection: Connection, sql: str) -> list[str]:
    return [str(value) for value in query(connection, sql).column(0).to_pylist()]
