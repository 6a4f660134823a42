"""Forms of an event on which decoders may differ, and who takes them: a node, `run` and `verify`.

What a node takes was found out with its own decoder (`tests/hostile/node`), on types with the
fields that it asks for. Of https://github.com/ceramicnetwork/rust-ceramic these are in event/src/
unvalidated: event.rs, payload/, signed/mod.rs and signed/cacao.rs. That a block is found by codec
and multihash, and the event by the flag `root`, is in event-svc/src/store/sql. Cargo.lock of
v0.54.2 has serde_ipld_dagcbor 0.6.1; 0.6.4 takes the same, and 0.7.0 refuses what only nodes take
of odd encodings. Its rules are in src/de.rs (`deserialize_any`), and for heads of any length in
src/core/dec.rs of cbor4ii 0.2.14 (`decode_u64`). Events and payloads are read untagged, so serde
keeps them in a type of its own first, which has no integers of 128 bits and no text that is not
also bytes. The times of a capability (`iat`, `exp`, `nbf`) are any text: they were chrono's
`DateTime` for some weeks, and texts again before a release (its pull request 504).

`run` and `verify` give a node's answer for each form, but for those in `form_differences`.
"""

from collections.abc import Iterator
from typing import NamedTuple

from flows.synth.events import Event, Stream
from tests.hostile.form_differences import DIFFERENCES
from tests.hostile.form_events import event_forms
from tests.hostile.form_fields import field_forms
from tests.hostile.form_rows import row_forms
from tests.hostile.form_shared import shared_forms


class Form(NamedTuple):
    """One event, and whether each of these takes it."""

    event: Event
    change: str
    """A statement that is executed once the event is stored; empty: none."""
    node: bool
    run: bool
    verify: bool


def forms(stream: Stream, prev: bytes) -> dict[str, Form]:
    """All forms, by what is special; those with a prev are children of `prev`."""
    return {
        name: Form(event, change, *DIFFERENCES.get(name, (taken,) * 3))
        for name, event, change, taken in _all_forms(stream, prev)
    }


def _all_forms(stream: Stream, prev: bytes) -> Iterator[tuple[str, Event, str, bool]]:
    for some in (event_forms, field_forms, shared_forms):
        for name, event, taken in some(stream, prev):
            yield name, event, "", taken
    yield from row_forms(stream, prev)
