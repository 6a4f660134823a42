"""The log of a replay: the order, what was left undelivered, and the document that counts both."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from connectors.errors import CannotStartError
from connectors.paths import plain_folder
from flows.verify.derive import run, sql
from flows.verify.load import insert

ORDER = "order-*.parquet"
"""Files of the order; sorted by name they are in its order."""
LEFT = ("waiting", "rejected")
"""For each of these a file `NAME.parquet` lists events that were left undelivered."""
DOCUMENT = "replay.json"
_PAIRS = pa.schema([("what", pa.string()), ("value", pa.string())])

COUNTS = ("delivered", *LEFT, "first_number", "last_number", "order_digest")
"""Fields of the document that are compared with the files (sql/log_found.sql)."""

_ORDER_ROWS = """
    SELECT delivered AS number, cid, stream, prev, kind, rowid AS id,
        $before + file_row_number AS place
    FROM read_parquet($paths, file_row_number = true)
"""
_LEFT_ROWS = "SELECT rowid AS id, cid, reason, $name AS list FROM read_parquet($paths)"


class Log:
    """The folder of a log."""

    def __init__(self, folder: Path, *, published: bool) -> None:
        """Look for the files of a log, without reading them.

        Args:
            folder: the folder that `replay --out` named.
            published: whether it must hold the document; a replay verifies its log before it writes
                that.

        Raises:
            CannotStartError: it can't be read, or holds no log.
        """
        if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
            raise CannotStartError(
                f"Can't read `{folder}`",
                why="this user may not",
                advice="Work as the user who made the log.",
            )
        self.folder = folder
        self._published = published
        self._order = sorted(folder.glob(ORDER)) if folder.is_dir() else []
        if not self._order:
            raise CannotStartError(
                f"`{folder}` holds no `{ORDER}`, so it is no log",
                advice="Name the folder that `replay --out` wrote.",
            )
        for file in self._order:
            # to open a named pipe is to wait for who opens its other end
            if not file.is_file():
                raise CannotStartError(
                    f"Can't read the log in `{folder}`",
                    why=f"`{file.name}` is no regular file",
                    advice="Replay the snapshot again into an empty folder.",
                )

    def check(self, tables: duckdb.DuckDBPyConnection) -> None:
        """Check by the first file that the log has the columns that `load` needs.

        Raises:
            CannotStartError: it has not.
        """
        self._read(tables, f"DESCRIBE {_ORDER_ROWS}", self._order, before=0)

    def load(self, tables: duckdb.DuckDBPyConnection) -> None:
        """Fill `log`, `log_left`, `log_said` and `log_found` (sql/stored.sql).

        Raises:
            CannotStartError: a file can't be read, or is no part of a log.
        """
        found: dict[str, str] = {}
        before = 0
        for file in self._order:
            self._read(tables, f"INSERT INTO log BY NAME {_ORDER_ROWS}", [file], before=before)
            ((rows,),) = tables.execute("SELECT count(*) FROM log").fetchall()
            found[f"rows of {file.name}"] = str(rows - before)
            before = rows
        for name in LEFT:
            file = self.folder / f"{name}.parquet"
            if file.is_file():
                found[file.name] = "there"
                statement = f"INSERT INTO log_left BY NAME {_LEFT_ROWS}"
                self._read(tables, statement, [file], name=name)
        if self._published:
            said = {DOCUMENT: "there", **{f"{name}.parquet": "there" for name in LEFT}}
            document = self._document()
            if document is not None:
                found[DOCUMENT] = "there"
                said |= document
            _fill(tables, "log_said", said)
        _fill(tables, "log_found", found)
        run(tables, sql("log_found"))

    def _document(self) -> dict[str, str] | None:
        """What the document says, by name; None: there is no document, or it is no log's."""
        file = self.folder / DOCUMENT
        if not file.is_file():
            return None
        try:
            document = json.loads(file.read_bytes())
            rows = {f"rows of {file['name']}": file["events"] for file in document["files"]}
            counts = {name: document[name] for name in COUNTS}
            reasons = {f"reason {name}": left for name, left in document["reasons"].items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None
        return {name: str(value) for name, value in {**rows, **counts, **reasons}.items()}

    def _read(
        self,
        tables: duckdb.DuckDBPyConnection,
        statement: str,
        files: Sequence[Path],
        **parameters: object,
    ) -> None:
        with self._explained(), plain_folder(self.folder) as plain:
            paths = [f"{plain}/{file.name}" for file in files]
            tables.execute(statement, {"paths": paths, **parameters}).fetchall()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except duckdb.OutOfMemoryException:
            raise
        except (duckdb.Error, OSError) as cause:
            raise CannotStartError(
                f"Can't read the log in `{self.folder}`",
                why=str(cause).splitlines()[0],
                advice="Replay the snapshot again into an empty folder.",
            ) from cause


def _fill(tables: duckdb.DuckDBPyConnection, table: str, rows: Mapping[str, str]) -> None:
    columns = {"what": list(rows), "value": list(rows.values())}
    insert(tables, table, pa.table(columns, schema=_PAIRS))
