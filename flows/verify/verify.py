"""Verify: check every promise of README.md on a database, from its blocks up, with DuckDB.

Nothing here or in `flows.verify` is shared with the flow that it judges: blocks are decoded by
cbrrr, and what follows from them is SQL, one file for each fact (`flows/verify/sql/facts`) and for
each rule (`flows/verify/sql/rules`).
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import duckdb

from connectors.database import locate, read_schema
from connectors.errors import CannotStartError, InterruptedRunError
from connectors.scratch import scratch_folder
from connectors.snapshot import Reader
from connectors.sqlite import sqlite_says
from flows.verify.baseline import compare
from flows.verify.check_rules import judge
from flows.verify.derive import conclude, run, sql
from flows.verify.load import load_database, load_events
from flows.verify.log import check_log, load_log
from flows.verify.memory import Shares, amount, share_out
from flows.verify.report import prepare_report, write_report
from flows.verify.rows import READ_ERRORS, connect_still, rowids
from flows.verify.verification import Verification

MEMORY_LIMIT = "2GB"
"""For this process and all that decode for it (`flows.verify.memory`); what does not fit goes to
temporary files."""

LEAST_EVENT_BYTES = 500
"""Of its row, its block and the entries of both in the indices."""

FLUSH = "16MB"
"""Memory that DuckDB frees at once goes back to the system from here on. With its default of 512
MB, what a join had freed was held beside what the next one took: 300 MB above a limit of 2 GB."""

OnProgress = Callable[[str, int, int], None]
"""Is told the step, how far it is, and about how far it goes."""


def verify(
    database: Path,
    *,
    baseline: Path | None = None,
    log: Path | None = None,
    hashes: bool = False,
    report: Path | None = None,
    memory_limit: str = MEMORY_LIMIT,
    on_progress: OnProgress | None = None,
) -> Verification:
    """Check every rule (`flows.verify.rules.RULES`) on a database that no process has open; nothing is written to it.

    Args:
        database: the database to judge.
        baseline: a copy of it from before the run. Violations of events that were delivered in it already are counted apart.
        log: the folder that a replay wrote. Its events are checked like delivered ones. The log agrees with the database if none of
            its events is delivered there (the database is what the log was made from) or all are (a run has delivered them; it may
            have numbered them in another order), and if nothing else was delivered at the log's numbers or above.
        hashes: also hash every block.
        report: a folder for `violations.parquet` (schema `flows.verify.report.VIOLATIONS`), which is replaced.
        memory_limit: of this process and all that it starts, together, like `2GB`. What the caller holds comes on top of it.
        on_progress: is told about progress, in this thread.

    Raises:
        CannotStartError: an input can't be used; nothing was changed.
        InterruptedRunError: the memory limit or the room for temporary files is too small, or the database was changed meanwhile.
    """
    limit = amount(memory_limit)
    started = time.monotonic()
    told = on_progress or (lambda _step, _done, _total: None)
    with ExitStack() as opened:
        path = opened.enter_context(_still_file(database))
        with _explained(database, memory_limit):
            shares = share_out(limit, _events(path))
        prepare_report(report)
        old_path = opened.enter_context(_still_file(baseline)) if baseline is not None else None
        tables = opened.enter_context(_tables(shares))
        with _explained(database, memory_limit):
            run(tables, sql("macros"))
            run(tables, sql("stored"))
            given = {"baseline": baseline is not None, "log": log is not None, "hashes": hashes}
            tables.execute(
                "INSERT INTO given BY NAME SELECT $baseline AS baseline, $log AS log, $hashes AS hashes",
                given,
            ).fetchall()
            if log is not None:
                check_log(tables, log)
            blocks = load_database(
                tables,
                path,
                shares.processes,
                lambda done, total: told("reading blocks", done, total),
                hashes=hashes,
            )
            tables.execute(f"SET memory_limit = '{shares.afterwards}B'")
            if log is not None:
                load_log(tables, log)
        if old_path is not None and baseline is not None:
            with _explained(baseline, memory_limit):
                load_events(tables, old_path, "baseline_event")
                compare(
                    tables,
                    path,
                    old_path,
                    lambda done, total: told("comparing with the baseline", done, total),
                )
        with _explained(database, memory_limit):
            conclude(tables, lambda done, total: told("joining", done, total))
            findings = judge(tables, given, lambda done, total: told("checking rules", done, total))
            if report is not None:
                write_report(tables, report)
            events, delivered = tables.execute(
                "SELECT count(*), count(*) FILTER (is_numbered) FROM event"
            ).fetchall()[0]
    return Verification(
        database, baseline, log, events, delivered, blocks, findings, time.monotonic() - started
    )


@contextmanager
def _still_file(path: Path) -> Iterator[Path]:
    """The file to read for a database: itself or a private copy."""
    resolved = locate(path)
    with Reader(resolved, static=True) as reader:
        with closing(reader(resolved)) as connection:
            read_schema(connection, path)
        yield reader.file


def _events(path: Path) -> int:
    """About how many there are, but no more than there is room for in the file."""
    with closing(connect_still(path)) as connection:
        return min(
            rowids(connection, "ceramic_one_event").span, path.stat().st_size // LEAST_EVENT_BYTES
        )


@contextmanager
def _tables(shares: Shares) -> Iterator[Any]:
    with scratch_folder() as folder:
        config: dict[str, Any] = {
            "memory_limit": f"{shares.while_decoding}B",
            "threads": shares.threads,
            "temp_directory": str(folder),
            "preserve_insertion_order": False,
            "allocator_bulk_deallocation_flush_threshold": FLUSH,
        }
        with duckdb.connect(config=config) as tables:
            yield tables


@contextmanager
def _explained(path: Path, memory_limit: str) -> Iterator[None]:
    try:
        yield
    except duckdb.OutOfMemoryException as cause:
        raise InterruptedRunError(
            f"`{memory_limit}` of memory, and what fits in temporary files, is not "
            f"enough to verify `{path}`",
            why=f"{_duckdb_says(cause)}",
            unchanged="Nothing was changed.",
            advice=f"Raise `--memory-limit`, or set TMPDIR to a folder with more room than `{tempfile.gettempdir()}`.",
        ) from cause
    except duckdb.IOException as cause:
        raise InterruptedRunError(
            f"Can't keep temporary files in `{tempfile.gettempdir()}`",
            why=f"{_duckdb_says(cause)}",
            unchanged="Nothing was changed.",
            advice="Set TMPDIR to a folder with more room, or raise `--memory-limit`.",
        ) from cause
    except READ_ERRORS as cause:
        raise CannotStartError(
            f"Can't read `{path}`",
            why=f"{sqlite_says(cause)}",
            advice="Let `PRAGMA integrity_check` say what is damaged.",
        ) from cause


def _duckdb_says(error: duckdb.Error) -> str:
    """DuckDB's own words, without its advice."""
    return str(error).splitlines()[0]
