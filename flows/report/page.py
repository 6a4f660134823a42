"""The page: answers to an operator's questions, then pictures, as one HTML file without a script.

It needs no network, follows the reader's choice of light or dark, and can be read on a telephone
and printed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Literal

from connectors.errors import InterruptedRunError
from flows.report.counts import Bar as CountBar
from flows.report.counts import LogFacts
from flows.report.drawing import Bar, Column, Line, bars, columns, lines
from flows.report.output_file import write_whole
from flows.report.throughput import Sample
from operators.encoding.cid import cid_text

State = Literal["good", "bad", "open"]

SIGNS: Mapping[State, str] = {"good": "✓", "bad": "✗", "open": "?"}
"""A state is never told by its colour alone."""

FEWEST_SAMPLES = 4
"""A line through fewer points says nothing."""

LONGEST_WORD = 30
"""Letters; whatever is longer and has no space in it is a CID, a path or a digest."""

FATES = (("delivered", "delivered"), ("waiting", "waiting"), ("rejected", "rejected"))
"""Label and colour of what can become of an event."""


@dataclass(frozen=True)
class Answer:
    """The answer to one question of an operator."""

    question: str
    state: State
    answer: str
    """The first thing that is read: one short sentence."""
    more: str = ""
    """Further sentences."""
    command: str | None = None
    """What to type next."""
    table: Sequence[Sequence[str]] = ()
    """Rows below it, the first one with the headings."""


@dataclass(frozen=True)
class Page:
    """All that a page shows; whatever is empty leaves no trace on it."""

    title: str
    answers: Sequence[Answer]
    fates: Sequence[Bar] = ()
    """Events by what became of them, with the reasons."""
    samples: Sequence[Sample] = ()
    log: LogFacts | None = None
    """None: nothing but the counts of the run is known."""
    details: Mapping[str, str] | None = None
    """What was done with what, by name."""


def write_page(path: Path, content: Page) -> None:
    """Write the page, in place of an earlier one.

    Raises:
        InterruptedRunError: the disk is full or fails.
    """
    try:
        write_whole(path, page(content))
    except OSError as cause:
        raise InterruptedRunError(
            f"Can't write a page to `{path}`",
            why=f"{cause.strerror}",
            unchanged="All else is complete and kept.",
            advice="Make room (a page takes less than 100 kB), or name another folder.",
        ) from cause


def page(content: Page) -> str:
    """The whole page."""
    title = escape(content.title)
    sections = [
        *(_answer(answer) for answer in content.answers),
        _fates(content.fates),
        _throughput(content.samples),
        *(_log_sections(content.log) if content.log else ()),
        _details(content.details or {}),
    ]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{title}</h1>
{"".join(sections)}
</body>
</html>
"""


def _answer(answer: Answer) -> str:
    more = f"<p>{_prose(answer.more)}</p>" if answer.more else ""
    command = f"<pre>{escape(answer.command)}</pre>" if answer.command else ""
    return (
        f'<section class="answer {answer.state}">\n<h2>{escape(answer.question)}</h2>\n'
        f'<p class="short"><span class="sign">{SIGNS[answer.state]}</span> '
        f"{_prose(answer.answer)}</p>{more}{command}{_table(answer.table)}\n</section>\n"
    )


def _fates(fates: Sequence[Bar]) -> str:
    if not any(fate.number for fate in fates):
        return ""
    caption = "Events, by the reason why they were not delivered."
    return _section("What became of the undelivered events", caption, bars(fates))


def _throughput(samples: Sequence[Sample]) -> str:
    if len(samples) < FEWEST_SAMPLES or not samples[-1].read:
        return ""
    read = [(sample.seconds, float(sample.read)) for sample in samples]
    delivered = [(sample.seconds, float(sample.delivered)) for sample in samples]
    drawn = lines(
        [Line("read", read, "read"), Line("delivered", delivered, "delivered")],
        x_title="seconds",
        y_title="events",
    )
    return _section("Throughput", "Events that were read and delivered by then.", drawn)


def _log_sections(log: LogFacts) -> Iterable[str]:
    if log.rowids:
        drawn = columns(
            [Column(f"{one.first_rowid:,}", one[1:]) for one in log.rowids],
            FATES,
            x_title="rowid",
            y_title="rows",
        )
        yield _section(
            "Where the undelivered rows lie",
            "Rows of the event table by rowid: in the order in which the node stored them, "
            "or by CID after a migration.",
            drawn,
        )
    if log.lengths:
        yield _section(
            "Lengths of streams",
            "Streams, by how many of their events were delivered.",
            bars(_labelled(log.lengths, "event", "events")),
        )
    if log.forks:
        yield _section(
            "Forks",
            "Events that have several delivered children, by how many. "
            "All children of a fork are delivered.",
            bars(_labelled(log.forks, "child", "children")),
        )
    if log.longest:
        longest = [(cid_text(stream), f"{events:,}") for stream, events in log.longest]
        yield _section("Longest streams", "", _table([("stream", "events"), *longest]))


def _labelled(counts: Sequence[CountBar], one: str, several: str) -> Sequence[Bar]:
    return [
        Bar(f"{bar.label} {one if bar.label == '1' else several}", bar.height, "delivered")
        for bar in counts
    ]


def _details(details: Mapping[str, str]) -> str:
    return _section("Details", "", _table([("", ""), *details.items()])) if details else ""


def _section(heading: str, caption: str, content: str) -> str:
    said = f"<p>{caption}</p>\n" if caption else ""
    return f"<section>\n<h2>{heading}</h2>\n{said}{content}\n</section>\n"


def _table(rows: Sequence[Sequence[str]]) -> str:
    if len(rows) < 2:  # noqa: PLR2004 # the headings and at least one row
        return ""
    headings = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in rows[0])
    head = f"<thead><tr>{headings}</tr></thead>" if any(rows[0]) else ""
    body = "".join(
        f"<tr>{''.join(_cell(*pair) for pair in zip(rows[0], row, strict=True))}</tr>"
        for row in rows[1:]
    )
    return f"<table>{head}<tbody>{body}</tbody></table>"


def _cell(heading: str, text: str) -> str:
    # on a telephone a cell stands below the one before it, with its heading
    looks = ' class="cid"' if len(text) > LONGEST_WORD and " " not in text else ""
    return (
        f'<td{looks} data-heading="{escape(heading)}">{escape(text)}</td>' if text else "<td></td>"
    )


def _prose(text: str) -> str:
    """Sentences, with what stands in backticks as code."""
    parts = [escape(part) for part in text.split("`")]
    return "".join(
        f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts)
    )


STYLE = """
:root {
  --text: #1b1f24; --soft: #57606a; --ground: #ffffff; --line: #d0d7de; --panel: #f6f8fa;
  --delivered: #0072b2; --waiting: #b87500; --rejected: #b2182b; --read: #7d8590; --good: #1a7f37;
}
@media (prefers-color-scheme: dark) {
  :root {
    --text: #e6edf3; --soft: #9da7b1; --ground: #0d1117; --line: #30363d; --panel: #161b22;
    --delivered: #56b4e9; --waiting: #e69f00; --rejected: #ff7b72; --read: #8b949e;
    --good: #3fb950;
  }
}
@media print {
  :root {
    --text: #000; --soft: #333; --ground: #fff; --line: #999; --panel: #fff;
    --delivered: #0072b2; --waiting: #b87500; --rejected: #b2182b; --read: #7d8590; --good: #1a7f37;
  }
  svg, .answer { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  pre { white-space: pre-wrap; }
}
* { box-sizing: border-box; }
body {
  font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--ground);
  max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; overflow-wrap: break-word;
}
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 1rem; }
h2 { font-size: 1.1rem; margin: 0; }
section { margin: 0 0 2rem; break-inside: avoid; }
p { margin: .15rem 0 .4rem; color: var(--soft); }
.answer {
  background: var(--panel); border-left: .3rem solid var(--soft); margin: 0 0 .75rem;
  padding: .6rem .9rem;
}
.answer + section:not(.answer) { margin-top: 2rem; }
.answer h2 { font-size: .9rem; font-weight: 500; color: var(--soft); }
.answer .short { font-size: 1.1rem; font-weight: 600; color: var(--text); margin: 0; }
.good { border-left-color: var(--good); } .good .sign { color: var(--good); }
.bad { border-left-color: var(--rejected); } .bad .sign { color: var(--rejected); }
.open { border-left-color: var(--waiting); } .open .sign { color: var(--waiting); }
pre {
  font: .85rem/1.5 ui-monospace, monospace; margin: .4rem 0 0; padding: .4rem .6rem;
  background: var(--ground); border: 1px solid var(--line); overflow-x: auto;
}
code, .cid { font-family: ui-monospace, monospace; }
.cid { font-size: .75rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; font-size: .85rem; margin: .4rem 0 0; }
th { text-align: left; font-weight: 500; color: var(--soft); }
th, td { padding: .2rem 1.2rem .2rem 0; vertical-align: top; border-top: 1px solid var(--line); }
td { font-variant-numeric: tabular-nums; }
rect.delivered { fill: var(--delivered); } rect.waiting { fill: var(--waiting); }
rect.rejected { fill: var(--rejected); } rect.read { fill: var(--read); }
polyline {
  fill: none; stroke: var(--delivered); stroke-width: 2; vector-effect: non-scaling-stroke;
}
polyline.read { stroke: var(--read); }
.across { stroke: var(--line); vector-effect: non-scaling-stroke; }
ul { list-style: none; margin: .5rem 0 0; padding: 0; }
.bars li {
  display: grid; grid-template-columns: minmax(9rem, 15rem) 1fr minmax(4rem, auto); gap: 0 .75rem;
  align-items: center; padding: .15rem 0; font-size: .9rem;
}
.bars svg { width: 100%; height: 1rem; display: block; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.legend { display: flex; flex-wrap: wrap; gap: 0 1.25rem; font-size: .85rem; }
.legend svg { width: .8rem; height: .8rem; margin-right: .4rem; }
.axes {
  display: grid; grid-template: "title title" auto "y picture" 14rem "none x" 1.4rem "none below"
  auto / auto 1fr; column-gap: .5rem; margin-top: .4rem; font-size: .8rem; color: var(--soft);
}
.axes p { margin: 0 0 .5rem; }
.axes > svg { grid-area: picture; width: 100%; height: 100%; overflow: visible; }
.y-title { grid-area: title; }
.y { grid-area: y; position: relative; min-width: 4.5rem; }
.y span { position: absolute; right: 0; transform: translateY(50%); line-height: 1; }
.x { grid-area: x; position: relative; margin-top: .2rem; }
.x span { position: absolute; transform: translateX(-50%); white-space: nowrap; }
.x span:first-child { transform: none; } .x span:last-child { transform: translateX(-100%); }
.x-title { grid-area: below; text-align: center; }
@media (max-width: 34rem) {
  .bars li { grid-template-columns: 1fr minmax(4rem, auto); }
  .bars .label { grid-column: 1 / -1; }
  .axes { grid-template-rows: auto 11rem 1.4rem auto; }
  table, tbody, tr, td { display: block; }
  thead { display: none; }
  tr { border-top: 1px solid var(--line); padding: .3rem 0; }
  td { border: 0; padding: 0; }
  td[data-heading]:not([data-heading=""])::before {
    content: attr(data-heading) ": "; color: var(--soft); font: .75rem system-ui, sans-serif;
  }
}
"""
