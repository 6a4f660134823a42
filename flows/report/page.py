"""The page: what a run did, as one HTML file that needs no network."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.io import to_html
from plotly.offline import get_plotlyjs

from connectors.errors import InterruptedRunError
from flows.report.counts import Bar, Facts, LogFacts, RowidBin
from flows.report.output_file import write_whole
from flows.report.pace import Sample
from operators.encoding.cid import cid_text

BLUE, ORANGE, RED, GREY = "#0072b2", "#e69f00", "#b2182b", "#8c959f"
"""Delivered, waiting, rejected, read: distinct also to people who see fewer colours."""

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1f24; background: #fff; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin: 0 } h2 { font-size: 1.15rem; margin: 2.4rem 0 0 } p { margin: .1rem 0 .4rem; color: #57606a }
ul { list-style: none; display: flex; flex-wrap: wrap; gap: 1rem; padding: 0 }
li { flex: 1 1 9rem; border-top: 4px solid; padding: .3rem 0 }
li b { display: block; font-size: 1.7rem; line-height: 1.3 }
table { border-collapse: collapse; font-size: .9rem; margin: .5rem 0 } td { padding: .15rem 1.5rem .15rem 0; vertical-align: top }
td { overflow-wrap: anywhere } td.cid { font-family: ui-monospace, monospace }
"""


def write_page(path: Path, facts: Facts) -> None:
    """Write the page, in place of an earlier one.

    Raises:
        InterruptedRunError: the disk is full or fails.
    """
    try:
        write_whole(path, page(facts))
    except OSError as cause:
        raise InterruptedRunError(
            f"Can't write a page to `{path}`",
            why=f"{cause.strerror}",
            unchanged="All else is complete and kept.",
            advice="Make room (a page takes 5 MB), or try another folder.",
        ) from cause


def page(facts: Facts) -> str:
    """The whole page."""
    sections = [
        _section(
            "What became of the undelivered events",
            "Events, by the reason why they were not delivered.",
            _fates(facts),
        ),
        _section("Throughput", _rate(facts.pace), _progress(facts.pace)),
    ]
    if facts.log is not None:
        sections += _log_sections(facts.log)
    title = escape(facts.title)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>{_STYLE}</style>
<script>{get_plotlyjs()}</script>
</head>
<body>
<h1>{title}</h1>
{_totals(facts)}
<noscript><p>The pictures need JavaScript; all numbers are in <code>replay.json</code> and the Parquet files too.</p></noscript>
{"".join(sections)}
{_section("Details", "", _table(facts.details.items()))}
</body>
</html>
"""


def _log_sections(log: LogFacts) -> list[str]:
    return [
        _section(
            "Where the undelivered rows lie",
            "Rows of the event table by rowid: in the order in which the node stored them, or by CID after a migration.",
            _rowids(log.rowids),
        ),
        _section(
            "Lengths of streams",
            "Streams, by how many of their events were delivered.",
            _bars(log.lengths, "events", "streams"),
        ),
        _section(
            "Forks",
            "Events that have several delivered children, by how many. All children of a fork are delivered.",
            _bars(log.forks, "children", "parents") if log.forks else "<p>There are none.</p>",
        ),
        _section(
            "Longest streams",
            "",
            _table(
                ((cid_text(stream), f"{events:,} events") for stream, events in log.longest), "cid"
            ),
        ),
    ]


def _section(heading: str, caption: str, content: str) -> str:
    return f"<section>\n<h2>{heading}</h2>\n<p>{caption}</p>\n{content}\n</section>\n"


def _table(rows: Iterable[tuple[str, str]], name_class: str = "") -> str:
    lines = (
        f'<tr><td class="{name_class}">{escape(name)}</td><td>{escape(value)}</td></tr>'
        for name, value in rows
    )
    return f"<table>{''.join(lines)}</table>"


def _totals(facts: Facts) -> str:
    totals = [
        ("delivered", facts.delivered, BLUE),
        ("waiting for another event", sum(facts.waiting.values()), ORANGE),
        ("rejected", sum(facts.rejected.values()), RED),
    ]
    items = "".join(
        f'<li style="border-color: {colour}"><b>{count:,}</b>{label}</li>'
        for label, count, colour in totals
    )
    return f"<ul>{items}</ul>"


def _fates(facts: Facts) -> str:
    bars = [("delivered", facts.delivered, BLUE)]
    bars += [(reason, count, ORANGE) for reason, count in sorted(facts.waiting.items())]
    bars += [(reason, count, RED) for reason, count in sorted(facts.rejected.items())]
    labels, counts, colours = zip(*bars, strict=True)
    bar = go.Bar(
        y=labels,
        x=counts,
        orientation="h",
        marker_color=colours,
        text=[f"{count:,}" for count in counts],
        cliponaxis=False,
    )
    figure = go.Figure(bar)
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(title="events", rangemode="tozero")
    return _drawn(figure, height=130 + 32 * len(bars), right=90)


def _progress(pace: Sequence[Sample]) -> str:
    figure = go.Figure()
    for name, field, colour in (("read", "read", GREY), ("delivered", "delivered", BLUE)):
        counts = [getattr(sample, field) for sample in pace]
        figure.add_scatter(
            x=[sample.seconds for sample in pace],
            y=counts,
            name=name,
            mode="lines",
            line={"color": colour, "width": 2},
        )
    figure.update_xaxes(title="seconds", rangemode="tozero")
    figure.update_yaxes(title="events", rangemode="tozero")
    return _drawn(figure)


def _rate(pace: Sequence[Sample]) -> str:
    last = pace[-1]
    return f"Events that were read and delivered by then: on average {last.read / max(last.seconds, 0.001):,.0f} were read a second."


def _rowids(bins: Sequence[RowidBin]) -> str:
    figure = go.Figure()
    for name, colour in (("delivered", BLUE), ("waiting", ORANGE), ("rejected", RED)):
        figure.add_bar(
            x=[one.first_rowid for one in bins],
            y=[getattr(one, name) for one in bins],
            name=name,
            marker_color=colour,
        )
    figure.update_layout(barmode="stack", bargap=0)
    figure.update_xaxes(title="rowid")
    figure.update_yaxes(title="rows")
    return _drawn(figure)


def _bars(bars: Sequence[Bar], of: str, what: str) -> str:
    figure = go.Figure(
        go.Bar(x=[bar.label for bar in bars], y=[bar.height for bar in bars], marker_color=BLUE)
    )
    figure.update_traces(text=[f"{bar.height:,}" for bar in bars], cliponaxis=False)
    figure.update_xaxes(title=of, type="category")
    figure.update_yaxes(title=what)
    return _drawn(figure)


def _drawn(figure: Any, *, height: int = 320, right: int = 20) -> str:
    figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 70, "r": right, "t": 30, "b": 50},
        legend={
            "orientation": "h",
            "y": 1.02,
            "yanchor": "bottom",
            "x": 1,
            "xanchor": "right",
            "traceorder": "normal",
        },
        font={"family": "system-ui, sans-serif", "size": 13},
    )
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    figure.update_traces(textposition="outside", selector={"type": "bar"})
    drawn: str = to_html(
        figure,
        include_plotlyjs=False,
        full_html=False,
        config={"displayModeBar": False, "responsive": True},
    )
    return drawn
