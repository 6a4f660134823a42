"""Verify: check every promise of README.md on a database, from its blocks up, with DuckDB.

`flows.verify` shares no decoding and no ordering code with the flow whose work it verifies. Blocks
are decoded by cbrrr, or by `flows.verify.loose` where they are not strict DAG-CBOR. What follows
from them is SQL, one file for each fact (`flows/verify/sql/facts`) and for each rule
(`flows/verify/sql/rules`).
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import duckdb

from connectors.database import locate
from connectors.errors import CannotStartError, InterruptedRunError
from connectors.paths import plain_folder
from connectors.schema import read_schema
from connectors.scratch import scratch_folder
from connectors.snapshot import Reader
from connectors.sqlite import sqlite_says
from flows.verify.baseline import compare_with_baseline
from flows.verify.check_rules import check_rules
from flows.verify.derive import derive, run, sql
from flows.verify.load import BLOCKS_FOR_PROCESSES, load_baseline, load_database
from flows.verify.log import Log
from flows.verify.memory import FLUSH, Shares, amount, default_limit, share_out
from flows.verify.report import prepared_report, write_report
from flows.verify.rows import READ_ERRORS, connect_immutable, rowids
from flows.verify.verification import Verification

LEAST_EVENT_BYTES = 500
"""The fewest bytes that an event takes in the file: its row, its block, and both in the indices."""

OnProgress = Callable[[str, int, int], None]
"""A function that gets the step, how much of it is done, and about how much there is."""


def verify(
    database: Path,
    *,
    baseline: Path | None = None,
    log: Path | None = None,
    is_log_published: bool = True,
    hashes: bool = False,
    report: Path | None = None,
    memory_limit: str | None = None,
    on_progress: OnProgress | None = None,
    blocks_for_processes: int = BLOCKS_FOR_PROCESSES,
) -> Verification:
    """Check every rule (`flows.verify.rules.RULES`) on a database that no process has open.

    Nothing is written to it.

    Args:
        database: the database to verify.
        baseline: a copy of it from before the run. Violations by events that were already delivered
            in the copy are counted apart.
        log: the folder that a replay wrote. Its events are checked like delivered ones. The log
            agrees with the database if either none of its events is delivered there (the log was
            made from this database) or all of them are (a run has delivered them, perhaps in
            another order), and if no other event has the log's first number or a larger one.
        is_log_published: whether the log must have its document; a replay verifies its log
            before it writes that.
        hashes: also compare the bytes of every block with its multihash.
        report: a folder for `violations.parquet` (schema `flows.verify.report.VIOLATIONS`), which
            is replaced.
        memory_limit: of this process and all that it starts, together, like `2GB`; None: see
            `flows.verify.memory`. What does not fit goes to temporary files. What the caller
            holds is not counted.
        on_progress: is called in this thread.
        blocks_for_processes: from so many blocks on, other processes decode.

    Raises:
        CannotStartError: an input can't be used; nothing was changed.
        InterruptedRunError: the memory limit or the room for temporary files is too small, or the
            database was changed while it was read.
    """
    memory_limit = memory_limit or default_limit()
    limit = amount(memory_limit)
    started = time.monotonic()
    progress = on_progress or (lambda _step, _done, _total: None)
    with ExitStack() as opened:
        path = opened.enter_context(_unchanging_file(database))
        with _explained(database, memory_limit):
            shares = share_out(limit, events_at_most(path))
        old_path = opened.enter_context(_unchanging_file(baseline)) if baseline else None
        replayed = None if log is None else Log(log, published=is_log_published)
        output = prepared_report(report)
        if output is not None:
            opened.callback(output.abandon)
        tables = opened.enter_context(_tables(shares))
        with _explained(database, memory_limit):
            run(tables, sql("macros"))
            run(tables, sql("stored"))
            given = {"baseline": baseline is not None, "log": log is not None, "hashes": hashes}
            tables.execute(
                "INSERT INTO given BY NAME"
                " SELECT $baseline AS baseline, $log AS log, $hashes AS hashes",
                given,
            ).fetchall()
            if replayed is not None:
                replayed.check(tables)
            blocks, unknown_hashes = load_database(
                tables,
                path,
                shares.processes,
                lambda done, total: progress("reading blocks", done, total),
                hashes=hashes,
                least_blocks=blocks_for_processes,
            )
            tables.execute(f"SET memory_limit = '{shares.afterwards}B'")
            if replayed is not None:
                replayed.load(tables)
        if old_path is not None and baseline is not None:
            with _explained(baseline, memory_limit):
                load_baseline(tables, path, old_path)
                compare_with_baseline(
                    tables,
                    path,
                    old_path,
                    lambda done, total: progress("comparing with the baseline", done, total),
                )
        with _explained(database, memory_limit):
            derive(tables, lambda done, total: progress("joining", done, total))
            findings = check_rules(
                tables, given, lambda done, total: progress("checking rules", done, total)
            )
            if output is not None:
                write_report(tables, output)
            events, delivered = tables.execute(
                "SELECT count(*), count(*) FILTER (is_numbered) FROM event"
            ).fetchall()[0]
    seconds = time.monotonic() - started
    return Verification(
        database=database,
        baseline=baseline,
        log=log,
        events=events,
        delivered=delivered,
        blocks=blocks,
        unknown_hashes=unknown_hashes if hashes else None,
        findings=findings,
        seconds=seconds,
    )


@contextmanager
def _unchanging_file(path: Path) -> Iterator[Path]:
    """The file to read for a database: itself or a private copy."""
    resolved = locate(path)
    with Reader(resolved, static=True) as reader:
        with closing(reader(resolved)) as connection:
            read_schema(connection, resolved)
        yield reader.file


def events_at_most(path: Path) -> int:
    """About how many events a database has: by rowids, but no more than the file has room for."""
    with closing(connect_immutable(path)) as connection:
        return min(
            rowids(connection, "ceramic_one_event").span, path.stat().st_size // LEAST_EVENT_BYTES
        )


@contextmanager
def _tables(shares: Shares) -> Iterator[duckdb.DuckDBPyConnection]:
    with scratch_folder() as folder, plain_folder(folder) as plain:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{shares.while_decoding}B",
            "threads": shares.threads,
            "temp_directory": plain,
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
            why=_duckdb_says(cause),
            unchanged="Nothing was changed.",
            advice="Raise `--memory-limit`, or set TMPDIR to a folder with more room than "
            f"`{tempfile.gettempdir()}`.",
        ) from cause
    except duckdb.IOException as cause:
        raise InterruptedRunError(
            f"Can't keep temporary files in `{tempfile.gettempdir()}`",
            why=_duckdb_says(cause),
            unchanged="Nothing was changed.",
            advice="Set TMPDIR to a folder with more room, or raise `--memory-limit`.",
        ) from cause
    except READ_ERRORS as cause:
        raise CannotStartError(
            f"Can't read `{path}`",
            why=sqlite_says(cause),
            advice="Let `PRAGMA integrity_check` say what is damaged.",
        ) from cause


def _duckdb_says(error: duckdb.Error) -> str:
    """DuckDB's own words, without its advice."""
    return str(error).splitlines()[0]
