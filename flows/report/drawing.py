"""Pictures of a page as HTML with inline SVG: bars, lines and stacked columns, without a script.

A shape's coordinates are shares of its picture's width and height, so a picture fits any width.
Text is HTML outside the shapes and keeps its size. The colours are classes of the page's style.
"""

from collections.abc import Sequence
from html import escape
from math import floor, log10
from typing import NamedTuple

LEAST_SHARE = 0.8
"""Percent. A number above 0 takes at least so much of a picture's width or height: three of 400
pixels."""

MOST_TICKS = 5
"""The most labels at one axis: more do not fit on a telephone."""

SIZE = 1000
"""Units of a picture with axes, in each direction; whole numbers of them are exact enough."""


class Bar(NamedTuple):
    """A horizontal bar with its label before it and its number after it."""

    label: str
    number: int
    colour: str


class Polyline(NamedTuple):
    """A line through points."""

    label: str
    points: Sequence[tuple[float, float]]
    colour: str


class Column(NamedTuple):
    """Parts on top of each other, in the order of the picture's colours."""

    label: str
    numbers: Sequence[int]


def bars(rows: Sequence[Bar]) -> str:
    """Horizontal bars, the longest as wide as the picture, each with its number after it."""
    longest = max((row.number for row in rows), default=0)
    lines = []
    for row in rows:
        share = _share(row.number, longest)
        bar = (
            f'<svg aria-hidden="true"><rect class="{row.colour}" width="{share:g}%" height="100%"/>'
            "</svg>"
        )
        lines.append(
            f'<li><span class="label">{escape(row.label)}</span>'
            f'{bar}<span class="number">{row.number:,}</span></li>'
        )
    return f'<ul class="bars">{"".join(lines)}</ul>'


def lines(series: Sequence[Polyline], *, x_title: str, y_title: str) -> str:
    """Lines in one picture, both axes from zero."""
    right = max(x for line in series for x, _ in line.points)
    highest = max(y for line in series for _, y in line.points)
    x_ticks, y_ticks = ticks(right), ticks(highest)
    shapes = [
        f'<polyline class="{line.colour}" points="{_points(line, right, y_ticks[-1])}"/>'
        for line in series
    ]
    legend = _legend([(line.label, line.colour) for line in series])
    return legend + _axes(
        shapes,
        [(tick / right, _number(tick)) for tick in x_ticks if tick <= right],
        y_ticks,
        x_title=x_title,
        y_title=y_title,
    )


def columns(
    all_columns: Sequence[Column], colours: Sequence[tuple[str, str]], *, x_title: str, y_title: str
) -> str:
    """Columns side by side.

    Args:
        all_columns: what is drawn, from left to right.
        colours: label and colour of each part of a column, from the bottom up.
        x_title: what the labels of the columns are.
        y_title: what is counted.
    """
    y_ticks = ticks(max(sum(column.numbers) for column in all_columns))
    width = SIZE / len(all_columns)
    shapes = []
    for at, column in enumerate(all_columns):
        bottom = 0.0
        for number, (label, colour) in zip(column.numbers, colours, strict=True):
            if not number:
                continue
            height = _share(number, y_ticks[-1]) * SIZE / 100
            shapes.append(
                f'<rect class="{colour}" x="{at * width:.1f}" y="{SIZE - bottom - height:.1f}" '
                f'width="{width:.1f}" height="{height:.1f}">'
                f"<title>{escape(column.label)}: {number:,} {escape(label)}</title></rect>"
            )
            bottom += height
    used = [
        pair
        for part, pair in enumerate(colours)
        if any(column.numbers[part] for column in all_columns)
    ]
    ends = [(0.0, all_columns[0].label)]
    if len(all_columns) > 1:
        ends.append((1.0, all_columns[-1].label))
    return _legend(used) + _axes(shapes, ends, y_ticks, x_title=x_title, y_title=y_title)


def ticks(highest: float) -> list[float]:
    """Round numbers from 0 up to the first that is not below `highest`, at most MOST_TICKS."""
    if highest <= 0:
        return [0, 1]
    power = 10.0 ** floor(log10(highest))
    step = next(
        size * power
        for size in (0.1, 0.2, 0.25, 0.5, 1, 2, 2.5)
        if size * power * (MOST_TICKS - 1) >= highest
    )
    found = [0.0]
    while found[-1] < highest:
        found.append(len(found) * step)
    return found


def _share(number: float, whole: float) -> float:
    """Percent of the whole: for a number above 0 at least so many that a shape can be seen."""
    return max(100 * number / whole, LEAST_SHARE) if number else 0.0


def _points(line: Polyline, right: float, highest: float) -> str:
    return " ".join(
        f"{SIZE * x / (right or 1):.0f},{SIZE - SIZE * y / highest:.0f}" for x, y in line.points
    )


def _axes(
    shapes: Sequence[str],
    x_labels: Sequence[tuple[float, str]],
    y_ticks: Sequence[float],
    *,
    x_title: str,
    y_title: str,
) -> str:
    """A picture with its axes: lines across at the numbers of the y axis, labels below."""
    across = "".join(f"M0 {SIZE - SIZE * tick / y_ticks[-1]:.0f}H{SIZE}" for tick in y_ticks)
    y_labels = "".join(
        f'<span style="bottom:{100 * tick / y_ticks[-1]:g}%">{_number(tick)}</span>'
        for tick in y_ticks
    )
    below = "".join(
        f'<span style="left:{100 * share:g}%">{escape(label)}</span>' for share, label in x_labels
    )
    return (
        f'<div class="axes"><p class="y-title">{escape(y_title)}</p>'
        f'<div class="y">{y_labels}</div>'
        f'<svg viewBox="0 0 {SIZE} {SIZE}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(y_title)} by {escape(x_title)}">'
        f'<path class="across" d="{across}"/>{"".join(shapes)}</svg>'
        f'<div class="x">{below}</div><p class="x-title">{escape(x_title)}</p></div>'
    )


def _legend(labels: Sequence[tuple[str, str]]) -> str:
    entries = "".join(
        f'<li><svg aria-hidden="true"><rect class="{colour}" width="100%" height="100%"/></svg>'
        f"{escape(label)}</li>"
        for label, colour in labels
    )
    return f'<ul class="legend">{entries}</ul>'


def _number(number: float) -> str:
    return f"{number:,.0f}" if number == int(number) else f"{number:g}"
