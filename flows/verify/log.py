"""The log of a replay: Parquet files `order-*.parquet` with the columns delivered, cid, stream, prev, kind, rowid."""

from pathlib import Path
from typing import Any

import duckdb

from connectors.errors import CannotStartError

PATTERN = "order-*.parquet"
_ROWS = "SELECT delivered, cid, stream, prev, kind, rowid FROM read_parquet($paths)"


def check_log(tables: Any, folder: Path) -> None:
    """See whether `load_log` will find a log, without reading its rows.

    Raises:
        CannotStartError: as `load_log`, as far as the first file tells.
    """
    _read(tables, folder, f"DESCRIBE {_ROWS}")


def load_log(tables: Any, folder: Path) -> None:
    """Fill `log` (sql/stored.sql) from all log files of a folder.

    Raises:
        CannotStartError: no folder, no log file in it, or a file that is no log.
    """
    _read(tables, folder, f"INSERT INTO log {_ROWS}")


def _read(tables: Any, folder: Path, statement: str) -> None:
    paths = sorted(folder.glob(PATTERN)) if folder.is_dir() else []
    if not paths:
        raise CannotStartError(
            f"`{folder}` holds no `{PATTERN}`, so it is no log",
            advice="Name the folder that `replay --out` wrote.",
        )
    try:
        tables.execute(statement, {"paths": [str(path) for path in paths]}).fetchall()
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as cause:
        reason = str(cause).splitlines()[0]
        raise CannotStartError(
            f"Can't read the log in `{folder}`",
            why=f"{reason}",
            advice="Replay the snapshot again into an empty folder.",
        ) from cause
