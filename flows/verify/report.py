"""The report of a verification: every violation, as Parquet."""

from pathlib import Path

import duckdb
import pyarrow as pa

from connectors.errors import CannotStartError
from connectors.paths import ParquetWriter
from flows.verify.cids import cid_text

FILE = "violations.parquet"
BATCH_ROWS = 8_192
"""Violations of a row group. DuckDB would hand over a million at once, and they take some 1,000
bytes each with their texts."""

VIOLATIONS = pa.schema(
    [
        pa.field("rule", pa.string(), nullable=False),  # its name in `RULES`
        pa.field("cid", pa.binary()),  # of the event; null: it is about none that can be named
        pa.field("cid_text", pa.string()),  # the same in base32
        pa.field("number", pa.int64()),  # `delivered`, in the log for rules of the log
        pa.field("related", pa.binary()),  # CID of the prev or the block that it is about
        pa.field("related_text", pa.string()),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("in_baseline", pa.bool_(), nullable=False),  # old damage
    ]
)
"""One row for each violation, by rule and number."""


def prepare_report(folder: Path | None) -> None:
    """Make the folder.

    Raises:
        CannotStartError: it can't be made.
    """
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise CannotStartError(
            f"Can't make the report folder `{folder}`",
            why=f"{cause.strerror}",
            advice="Name another folder.",
        ) from cause


def write_report(tables: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Write the table `violation` to `violations.parquet`.

    An earlier one is replaced when the new one is complete.
    """
    partial = folder / f".{FILE}.partial"
    rows = tables.sql(
        "SELECT rule, cid, number, related, detail, in_baseline FROM violation"
        " ORDER BY rule, number, cid"
    )
    with ParquetWriter(partial, VIOLATIONS, compression="zstd") as file:
        for batch in rows.to_arrow_reader(BATCH_ROWS):
            columns = {name: batch[name] for name in batch.schema.names}
            for name in ("cid", "related"):
                texts = [None if cid is None else cid_text(cid) for cid in batch[name].to_pylist()]
                columns[f"{name}_text"] = pa.array(texts, pa.string())
            file.write_batch(
                pa.record_batch([columns[field.name] for field in VIOLATIONS], schema=VIOLATIONS)
            )
    partial.replace(folder / FILE)
