"""The promises of README.md as rules, each one SELECT in the file of its name in `sql/rules`.

A rule asks the tables of `sql/stored.sql` and `sql/facts`, and returns one row for each violation:
`cid` (of the event, binary; null if there is none), `number`, `related` (CID of the prev or the
block that it is about), `detail` (a clause for people), and `in_baseline`: whether this is old
damage, of an event that was already delivered in the baseline.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Rule:
    """A promise as a question to the tables."""

    name: str
    promise: str
    needs: Literal["baseline", "log", "hashes"] | None = None
    """The option of `verify` without which the rule is skipped."""


RULES = (
    Rule("number-valid", "A number is an integer, 1 or more."),
    Rule("number-unique", "No two events have the same number."),
    Rule("parent-delivered", "The prev of a delivered event is delivered."),
    Rule("parent-first", "A delivered event has a larger number than its prev."),
    Rule("parent-same-stream", "The prev of a delivered event is of the same stream."),
    Rule("nothing-left", "Nothing that can be delivered is left undelivered."),
    Rule("block-present", "No block that a delivered event needs is missing."),
    Rule("block-listed", "Each block that a delivered event needs is listed for it."),
    Rule(
        "block-readable",
        "Each block that a delivered event needs can be read as what it is needed for.",
    ),
    Rule(
        "root-flagged",
        "The list of blocks of a delivered event flags its root block, and no other.",
    ),
    Rule("order-key-valid", "The order key of a delivered event is an event id."),
    Rule("signature-present", "The envelope of a delivered event has a signature."),
    Rule(
        "witness-proves-prev",
        "The path of a delivered time event leads from its proof to its prev.",
    ),
    Rule("hash-right", "Each block has the hash that its multihash names.", "hashes"),
    Rule("old-number-kept", "No number of the baseline has changed.", "baseline"),
    Rule("new-number-above", "Each new number is above all numbers of the baseline.", "baseline"),
    Rule("nothing-else-changed", "Nothing but `delivered` differs from the baseline.", "baseline"),
    Rule(
        "log-row-real",
        "Each row of the log is an event of the database, with the stream, prev and kind "
        "of its blocks.",
        "log",
    ),
    Rule("log-order", "The numbers of the log rise by one, and parents come first.", "log"),
    Rule("log-left", "The log lists each event that it leaves undelivered, and no other.", "log"),
    Rule("log-document", "The files of the log hold what its document says.", "log"),
    Rule("log-agrees", "The log and the database hold the same deliveries.", "log"),
)
