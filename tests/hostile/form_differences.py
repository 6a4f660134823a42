"""Where `run` or `verify` do not give a node's answer, each with its reason, in one place.

Other differences have no form here:

- Where several event blocks are flagged as root, a node takes the first by `idx`. That is the
  event itself only by luck, so `run` and `verify` want one alone.
- An unsigned init event with unknown fields, or without `data`, is served under another CID. To
  reject it would make its whole stream wait, and old nodes stored such events: `run` delivers it.
- Rows of an event's list that were stored far from the others are not looked at where those near
  it are what is needed.
"""

from typing import NamedTuple


class Difference(NamedTuple):
    """Who takes some forms, and why not all do."""

    takes: str
    """n: a node, r: `run`, v: `verify`."""
    reason: str
    forms: tuple[str, ...]


_DIFFERENCES = (
    Difference(
        "n--",
        "A node checks where a path leads when the event arrives, not when it serves it.",
        (
            "time prev is a link",
            "time path is a text",
            "path whose last index leads astray to `x`",
            "path whose last index leads astray to `0`",
            "path whose last index leads astray to `2`",
            "path whose last index leads astray to `99999999999999999999`",
        ),
    ),
    Difference(
        "n-v",
        "No tree is so deep: `run` bounds the time that a path takes, to about a second.",
        ("path of 1100 indices",),
    ),
)

DIFFERENCES: dict[str, tuple[bool, bool, bool]] = {
    form: ("n" in takes, "r" in takes, "v" in takes)
    for takes, _, forms in _DIFFERENCES
    for form in forms
}
"""By the name of a form, whether a node, `run` and `verify` take it."""
