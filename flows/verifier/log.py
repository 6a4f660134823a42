"""The log of a replay: Parquet files `order-*.parquet` with the columns delivered, cid, stream, prev, kind, rowid."""

from pathlib import Path
from typing import Any

import duckdb

from connectors.errors import CannotStartError

PATTERN = "order-*.parquet"


def load_log(tables: Any, folder: Path) -> None:
    """Fill `log` (sql/stored.sql) from all log files of a folder.

    Raises:
        CannotStartError: no folder, no log file in it, or a file that is no log.
    """
    paths = sorted(folder.glob(PATTERN)) if folder.is_dir() else []
    if not paths:
        raise CannotStartError(
            f"`{folder}` holds no `{PATTERN}`, so it is no log. Nothing was changed. Name the folder that `replay --out` wrote."
        )
    try:
        tables.execute(
            "INSERT INTO log SELECT delivered, cid, stream, prev, kind, rowid FROM read_parquet($paths)",
            {"paths": [str(path) for path in paths]},
        ).fetchall()
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as cause:
        reason = str(cause).splitlines()[0]
        raise CannotStartError(
            f"Can't read the log in `{folder}`: {reason}. Nothing was changed. Replay the snapshot again into an empty folder."
        ) from cause
