"""`ceramic-order replay`."""

from dataclasses import replace
from pathlib import Path

import click

from flows.cli.flow_options import flow_options
from flows.cli.page_option import page_option, write
from flows.cli.paths import FOLDER, PATH
from flows.cli.summary import print_wrong_notes, summary_table
from flows.jobs.options import RunOptions
from flows.jobs.replay import replay
from flows.report.output_file import require_writable
from flows.report.throughput import Sample, sampled
from flows.terminal.console import output_options, print_json, print_message, print_result


@click.command(
    "replay", epilog="Example: ceramic-order replay snapshot.db --out order/ --html order.html"
)
@click.argument("snapshot", type=PATH)
@click.option(
    "--out",
    required=True,
    type=FOLDER,
    help="The folder for the log.",
)
@page_option
@click.option("--overwrite", is_flag=True, help="Replace the log that is already in the folder.")
@flow_options
@click.option(
    "--no-verify",
    is_flag=True,
    help="Do not verify the log; that takes about three times as long as making it.",
)
@click.option("--strict", is_flag=True, help="Exit 1 if an event was not delivered.")
@output_options
def command(
    snapshot: Path,
    *,
    out: Path,
    page: Path | None,
    overwrite: bool,
    no_verify: bool,
    strict: bool,
    as_json: bool,
    options: RunOptions,
) -> int:
    """Find the delivered order of SNAPSHOT and write it to Parquet files.

    The snapshot is only read. The folder --out gets order-00000.parquet, ... with the columns
    delivered, cid, stream, prev, kind and rowid, then waiting.parquet and rejected.parquet with
    what can't be delivered, and replay.json with what the replay did.
    """
    samples: list[Sample] = []
    if page is not None:
        require_writable(page, snapshot, "a page", kept=[out])
        options = replace(options, watch=lambda state: sampled(state, samples))
    replayed = replay(
        snapshot,
        out,
        options,
        overwrite=overwrite,
        counted=page is not None,
        verified=not no_verify,
    )
    if page is not None:
        from flows.report.answers import replay_page  # noqa: PLC0415 # a page is seldom wanted

        write(page, out, lambda stuck: replay_page(replayed, stuck, samples))
    verification = replayed.verification
    if as_json:
        print_json(replayed.to_json())
    else:
        passed = verification is not None and verification.is_good
        verdict = {"verification": "passed" if passed else "failed"} if verification else {}
        more = verdict | {
            "files": f"{len(replayed.files):,}",
            "seconds": f"{replayed.run.seconds:.1f}",
        }
        print_result(summary_table(replayed.run, more))
    if not options.quiet:
        print_wrong_notes(replayed.run.run_state)
    if verification is not None and not verification.is_good:
        rules = "`, `".join(sorted(verification.failed))
        advice = (
            "This is a defect of ceramic-order: please report it."
            if options.check_node
            else "`--check node` would not deliver them."
        )
        print_message(
            f"The log breaks `{rules}`. `ceramic-order verify {snapshot} --log {out}` lists the "
            f"events. {advice}",
            style="red",
        )
        return 1
    return int(strict and bool(replayed.run.run_state.reasons))
