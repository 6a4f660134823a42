"""The page: answers to an operator's questions, then pictures, as one HTML file without a script.

It needs no network, follows the reader's choice of light or dark, and can be read on a telephone
and printed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Literal

from connectors.errors import InterruptedRunError, system_says
from flows.report.counts import LabelledCount, LogFacts
from flows.report.drawing import Bar, Column, Polyline, bars, columns, lines
from flows.report.output_file import write_whole
from flows.report.style import STYLE
from flows.report.throughput import Sample
from operators.encoding.cid import cid_text

AnswerState = Literal["good", "bad", "open"]

SIGNS: Mapping[AnswerState, str] = {"good": "✓", "bad": "✗", "open": "?"}
"""The sign of each state: its colour alone would not be enough."""

FEWEST_SAMPLES = 4
"""The fewest points of a line that is drawn: fewer say nothing."""

LONGEST_WORD = 30
"""Letters: a longer text without a space is a CID, a path or a digest, and may be broken anywhere.
"""

LONGEST_SHORT = 30
"""Letters: a text of at most so many stays on one line."""

FATES = (("delivered", "delivered"), ("waiting", "waiting"), ("rejected", "rejected"))
"""Label and colour of what can become of an event."""


@dataclass(frozen=True)
class Answer:
    """The answer to one question of an operator."""

    question: str
    state: AnswerState
    answer: str
    """The first thing that is read: one short sentence."""
    more: str = ""
    """Further sentences."""
    command: str | None = None
    """What to type next."""
    table: Sequence[Sequence[str]] = ()
    """Rows below it, the first one with the headings."""


@dataclass(frozen=True)
class PageContent:
    """All that a page shows; what is empty is left out."""

    title: str
    answers: Sequence[Answer]
    fates: Sequence[Bar] = ()
    """Events by what became of them, with the reasons."""
    fates_title: str = "What became of the undelivered events"
    samples: Sequence[Sample] = ()
    log: LogFacts | None = None
    """What is in the log; None: it was not counted, or there is none."""
    details: Mapping[str, str] | None = None
    """What was done with what, by name."""


def write_page(path: Path, content: PageContent) -> None:
    """Write the page, in place of an earlier one.

    Raises:
        InterruptedRunError: the disk is full or fails.
    """
    try:
        write_whole(path, page(content))
    except OSError as cause:
        raise InterruptedRunError(
            f"Can't write a page to `{path}`",
            why=system_says(cause),
            unchanged="All else is complete and kept.",
            advice="Make room (a page takes less than 100 kB), or name another folder.",
        ) from cause


def page(content: PageContent) -> str:
    """The whole page."""
    title = escape(content.title)
    sections = [
        *(_answer(answer) for answer in content.answers),
        _fates(content),
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


def _fates(content: PageContent) -> str:
    if not any(fate.number for fate in content.fates):
        return ""
    return _section(content.fates_title, "", bars(content.fates))


def _throughput(samples: Sequence[Sample]) -> str:
    if len(samples) < FEWEST_SAMPLES or not samples[-1].read:
        return ""
    read = [(sample.seconds, float(sample.read)) for sample in samples]
    delivered = [(sample.seconds, float(sample.delivered)) for sample in samples]
    drawn = lines(
        [Polyline("read", read, "read"), Polyline("delivered", delivered, "delivered")],
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


def _labelled(counts: Sequence[LabelledCount], one: str, several: str) -> Sequence[Bar]:
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
    if not text:
        return "<td></td>"
    looks = "cid" if len(text) > LONGEST_WORD and " " not in text else ""
    if heading and text.replace(",", "").isdecimal():
        looks = "number"
    elif len(text) <= LONGEST_SHORT:
        looks = "word"
    return f'<td class="{looks}" data-heading="{escape(heading)}">{_prose(text)}</td>'


def _prose(text: str) -> str:
    """Sentences, with what stands in backticks as code."""
    parts = [escape(part) for part in text.split("`")]
    return "".join(f"<code>{part}</code>" if at % 2 else part for at, part in enumerate(parts))
