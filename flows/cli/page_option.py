"""The option `--html` of the commands that can write a page."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from connectors.scratch import scratch_folder
from flows.cli.paths import FILE
from flows.report.output_file import require_writable

if TYPE_CHECKING:
    from flows.report.page import PageContent
    from flows.report.stuck import Stuck

page_option = click.option(
    "--html",
    "page",
    type=FILE,
    help="Also write a page with answers and pictures, one file.",
)


@contextmanager
def report_for_page(
    page: Path | None, database: Path, report: Path | None
) -> Iterator[Path | None]:
    """The folder for the report of a run: a temporary one where only a page needs it.

    Raises:
        CannotStartError: the page can't be written.
    """
    if page is None:
        yield report
        return
    require_writable(page, database, "a page", kept=[report])
    # the page needs such a folder in the end: where there can be none, that is said now
    with scratch_folder() as folder:
        yield report or folder


def write(page: Path, report: Path, content: Callable[["Stuck"], "PageContent"]) -> None:
    """Write the page of what left the report in `report`."""
    from flows.report.page import write_page  # noqa: PLC0415 # loads DuckDB
    from flows.report.stuck import read_stuck  # noqa: PLC0415 # likewise

    with scratch_folder() as spill:
        stuck = read_stuck(report, spill)
    write_page(page, content(stuck))
