"""`ceramic-order verify`."""

from pathlib import Path

import click
from rich.table import Table

from connectors.run_state import Phases
from flows.cli.page_option import page_option
from flows.cli.paths import FOLDER, PATH
from flows.report.output_file import require_writable
from flows.terminal.console import (
    escaped,
    output_options,
    print_json,
    print_result,
)
from flows.terminal.progress import shown_progress
from flows.terminal.words import counted
from flows.verify.verification import Finding, Verification, Violation
from flows.verify.verify import verify

_COLOURS = {"passed": "green", "failed": "red", "skipped": "dim"}


@click.command(
    "verify",
    epilog="Example: ceramic-order verify db.sqlite3 --baseline before.sqlite3 --report broken/",
)
@click.argument("database", type=PATH)
@click.option(
    "--baseline",
    type=PATH,
    help="A copy from before the run: old numbers and all else must be as in it.",
)
@click.option(
    "--log",
    type=PATH,
    help="The folder that `replay` wrote: log and DATABASE must agree.",
)
@click.option(
    "--hashes", is_flag=True, help="Also compare the bytes of every block with its multihash."
)
@click.option(
    "--memory-limit",
    help="Memory of all processes together; the rest goes to files in TMPDIR. By default 2GB, or "
    "three quarters of what there is.",
)
@click.option(
    "--report",
    type=FOLDER,
    help="A folder for violations.parquet.",
)
@page_option
@output_options
def command(
    database: Path,
    *,
    baseline: Path | None,
    log: Path | None,
    hashes: bool,
    memory_limit: str | None,
    report: Path | None,
    page: Path | None,
    quiet: bool,
    as_json: bool,
) -> int:
    """Check every promise on DATABASE, from its blocks up. Nothing is written to it.

    Exit code 0: every rule holds. 1: one does not. Damage to events that were already delivered in
    the baseline is listed apart and does not count.

    A log agrees with DATABASE if DATABASE is the snapshot that it was made from, or if a run has
    delivered its events and no others: rowid, stream, prev and kind must be right in each row, and
    parents come first in its numbers. The numbers in DATABASE may be others, because several orders
    are right.
    """
    if page is not None:
        require_writable(page, database, "a page", kept=[baseline, log, report])
    phases = Phases()
    with shown_progress(phases, quiet=quiet):
        verification = verify(
            database,
            baseline=baseline,
            log=log,
            hashes=hashes,
            report=report,
            memory_limit=memory_limit,
            on_progress=phases.reach,
        )
    if page is not None:
        from flows.report.page import write_page  # noqa: PLC0415 # a page is seldom wanted
        from flows.report.rule_answers import verify_page  # noqa: PLC0415 # likewise

        write_page(page, verify_page(verification))
    if as_json:
        print_json(verification.to_json())
    else:
        _print(verification)
    return 0 if verification.is_good else 1


def _print(verification: Verification) -> None:
    counts = ", ".join(
        [
            counted(verification.events, "event"),
            f"{verification.delivered:,} delivered",
            counted(verification.blocks, "block"),
        ]
    )
    print_result(f"{verification.database}: {counts}, verified in {verification.seconds:.1f} s")
    print_result(_table(verification))
    for finding in verification.findings:
        shown = finding.first if finding.violations else ()
        if shown:
            print_result(f"\n{finding.rule.name}: {finding.rule.promise}")
        for violation in shown:
            print_result(f"  {_line(violation)}")
        if finding.violations > len(shown):
            print_result(f"  and {finding.violations - len(shown):,} more")
    if verification.unknown_hashes:
        print_result(
            f"\nThe hash function of {counted(verification.unknown_hashes, 'block')} is not known, "
            "so the bytes there were not compared with the hash."
        )


def _table(verification: Verification) -> Table:
    table = Table()
    table.add_column("rule", overflow="fold")
    table.add_column("", no_wrap=True)
    table.add_column("violations", justify="right", no_wrap=True)
    if verification.baseline is not None:
        table.add_column("in baseline", justify="right", no_wrap=True)
    for finding in verification.findings:
        row = [
            finding.rule.name,
            _status(finding),
            "" if finding.is_skipped else f"{finding.violations:,}",
        ]
        if verification.baseline is not None:
            row.append(f"{finding.in_baseline:,}" if finding.in_baseline else "")
        table.add_row(*row)
    return table


def _status(finding: Finding) -> str:
    shown = f"skipped: no --{finding.rule.needs}" if finding.is_skipped else finding.status
    return f"[{_COLOURS[finding.status]}]{shown}[/]"


def _line(violation: Violation) -> str:
    number = "" if violation.number is None else f" number {violation.number:,}"
    related = "" if violation.related is None else f" ({violation.related})"
    old = " [already in baseline]" if violation.in_baseline else ""
    return f"{violation.cid or '-'}{number}: {escaped(violation.detail)}{related}{old}"
