"""The report of a verification: every violation, as Parquet."""

from pathlib import Path

import duckdb
import pyarrow as pa

from connectors.errors import InterruptedRunError, system_says
from connectors.paths import ParquetWriter
from connectors.result_folder import ResultFolder
from flows.verify.cids import cid_text

FILE = "violations.parquet"
BATCH_ROWS = 8_192
"""Violations of a row group. Each takes some 1,000 bytes with its texts, and DuckDB would hand over
a million at once."""

VIOLATIONS = pa.schema(
    [
        pa.field("rule", pa.string(), nullable=False),  # its name in `RULES`
        pa.field("cid", pa.binary()),  # of the event; null: none that can be named
        pa.field("cid_text", pa.string()),  # the same in base32
        pa.field("number", pa.int64()),  # `delivered`, in the log for rules of the log
        pa.field("related", pa.binary()),  # CID of the prev or the block that it is about
        pa.field("related_text", pa.string()),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("in_baseline", pa.bool_(), nullable=False),  # old damage
    ]
)
"""One row for each violation, by rule and number."""


def prepared_report(folder: Path | None) -> ResultFolder | None:
    """The folder for the report, made and checked; the caller abandons what it does not write.

    Raises:
        CannotStartError: it can't be made, or a file that is no report is in the way.
    """
    if folder is None:
        return None
    output = ResultFolder(folder, (FILE,), frozenset({"rule", "detail"}))
    output.prepare()
    return output


def write_report(tables: duckdb.DuckDBPyConnection, output: ResultFolder) -> None:
    """Write the table `violation` to `violations.parquet`.

    An earlier one is replaced when the new one is complete.

    Raises:
        InterruptedRunError: the disk is full or fails.
    """
    rows = tables.sql(
        "SELECT rule, cid, number, related, detail, in_baseline FROM violation"
        " ORDER BY rule, number, cid"
    )
    try:
        with ParquetWriter(output.partial() / FILE, VIOLATIONS, compression="zstd") as file:
            for batch in rows.to_arrow_reader(BATCH_ROWS):
                columns = {name: batch[name] for name in batch.schema.names}
                for name in ("cid", "related"):
                    cids = batch[name].to_pylist()
                    texts = [None if cid is None else cid_text(cid) for cid in cids]
                    columns[f"{name}_text"] = pa.array(texts, pa.string())
                in_order = [columns[field.name] for field in VIOLATIONS]
                file.write_batch(pa.record_batch(in_order, schema=VIOLATIONS))
        output.publish()
    except OSError as cause:
        raise InterruptedRunError(
            f"Can't write the report in `{output.folder}`",
            why=system_says(cause),
            unchanged="The database is unchanged.",
            retry=True,
        ) from cause
