"""The pictures of a benchmark: events against time, the ratio, and what a run did when."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from tests.benchmarks.targets import WANTED_RATIOS, Result

BLUE, ORANGE, GREY, BLACK = "#0072b2", "#e69f00", "#8c959f", "#1b1f24"
"""Distinct also to people who see fewer colours."""

ORDERS = {"parents": "parents first", "shuffled": "shuffled"}
COLOURS = {"node": BLUE, "links": ORANGE}


def draw_results(path: Path, results: Sequence[Result]) -> None:
    """Draw time by number of events, of the run and of the write alone, and their ratio."""
    figure = Figure(figsize=(10, 7), layout="constrained")
    axes = figure.subplots(
        2, len(ORDERS), sharex=True, sharey="row", height_ratios=(3, 2), squeeze=False
    )
    for column, (order, title) in enumerate(ORDERS.items()):
        mine = [result for result in results if result.order == order]
        _draw_seconds(axes[0, column], mine, title)
        _draw_ratios(axes[1, column], mine, order)
    axes[0, 0].set_ylabel("seconds")
    axes[0, 0].legend(frameon=False)
    axes[1, 0].set_ylabel("times the write alone")
    axes[1, 0].set_ylim(bottom=0)
    axes[1, -1].legend(frameon=False)
    figure.savefig(path, dpi=120)


def _draw_seconds(axes: Axes, results: Sequence[Result], title: str) -> None:
    for check, colour in COLOURS.items():
        runs = [result for result in results if result.check == check]
        axes.plot(
            [run.events for run in runs],
            [run.seconds for run in runs],
            "o-",
            color=colour,
            label=f"run --check {check}",
        )
    alone = {result.events: result.write_alone_seconds for result in results}
    axes.plot(list(alone), list(alone.values()), "o-", color=GREY, label="the write alone")
    axes.set_title(title, loc="left")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
    axes.grid(alpha=0.3)


def _draw_ratios(axes: Axes, results: Sequence[Result], order: str) -> None:
    for check, colour in COLOURS.items():
        runs = [result for result in results if result.check == check]
        axes.plot([run.events for run in runs], [run.ratio for run in runs], "o-", color=colour)
    wanted = {
        events: ratio for (events, of_order), ratio in WANTED_RATIOS.items() if of_order == order
    }
    axes.plot(
        list(wanted), list(wanted.values()), "_", color=BLACK, markersize=24, label="at most wanted"
    )
    axes.axhline(1, color=GREY)
    sizes = sorted({result.events for result in results})
    axes.set_xticks(sizes, [f"{events:,}" for events in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("events")
    axes.grid(alpha=0.3)


MEASURES = {
    "seconds": ("seconds", 1.0),
    "RssAnon, MB": ("anonymous_bytes", 1e6),
    "largest -wal, MB": ("wal_bytes", 1e6),
    "written to disk, MB": ("written_bytes", 1e6),
}
"""Title to the field of a run and its unit."""


def draw_scale(path: Path, runs: Sequence[dict[str, Any]]) -> None:
    """Draw what a run takes, warm and cold.

    `runs` are those of `tests.benchmarks.scale`.
    """
    figure = Figure(figsize=(10, 7), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True).flat
    sizes = sorted({run["events"] for run in runs})
    for axes, (title, (field, unit)) in zip(panels, MEASURES.items(), strict=True):
        for cold, name, colour in ((False, "warm", ORANGE), (True, "cold", BLUE)):
            mine = [run for run in runs if run["cold"] is cold]
            axes.plot(
                [run["events"] for run in mine],
                [run[field] / unit for run in mine],
                "o-",
                color=colour,
                label=name,
            )
        axes.set_title(title, loc="left")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.set_xticks(sizes, [f"{events:,}" for events in sizes])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(alpha=0.3)
    figure.axes[0].legend(frameon=False)
    for axes in figure.axes[2:]:
        axes.set_xlabel("events")
    figure.savefig(path, dpi=120)


def draw_timeline(path: Path, profile: dict[str, Any]) -> None:
    """Draw a profile of `run --profile` over time: the busy cores, and each stage."""
    timeline = profile["timeline"]
    slot = timeline["slot_seconds"]
    # the last slot is not full
    bands = {
        "cores busy": timeline["cpu_seconds"][:-1],
        **{name: row[:-1] for name, row in timeline["busy_seconds"].items()},
    }
    edges = [at * slot for at in range(len(bands["cores busy"]) + 1)]
    figure = Figure(figsize=(10, 1.5 + 0.45 * len(bands)), layout="constrained")
    axes = figure.subplots(
        len(bands), 1, sharex=True, squeeze=False, height_ratios=[3, *[1] * (len(bands) - 1)]
    )[:, 0]
    for band, (name, seconds) in zip(axes, bands.items(), strict=True):
        shares = [busy / slot for busy in seconds]
        band.stairs(shares, edges, fill=True, color=BLUE if band is axes[0] else ORANGE)
        band.set_ylim(0, max(1.0, *shares))
        band.set_ylabel(name, rotation=0, ha="right", va="center")
        band.spines[["top", "right"]].set_visible(False)
        if band is not axes[0]:
            band.set_yticks([])
    axes[0].set_ylim(0, 2.05 if max(bands["cores busy"]) <= 2.05 * slot else None)
    axes[0].grid(axis="y", alpha=0.5)
    axes[-1].set_xlabel("seconds since the run began")
    figure.suptitle(
        f"{profile['run']['discovered']:,} events in {profile['seconds']:.1f} s: "
        f"{profile['cores']:.2f} cores busy on average"
    )
    figure.savefig(path, dpi=120)
