"""Why says of every event what a run says of it, and what to do."""

from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from cbrrr import CID, encode_dag_cbor
from hypothesis import example, given, settings
from hypothesis import strategies as st
from libipld import encode_multibase

from connectors.errors import CannotStartError, InterruptedRunError
from connectors.sqlite import connect, execute, scalar
from flows.jobs.options import RunOptions
from flows.jobs.run import dry_run
from flows.jobs.why import why
from flows.jobs.why_result import Why
from flows.synth.events import Event, data_event, init_event
from operators.encoding.cid import cid_text
from operators.schemas import WAITING, Reason
from tests.support.job import chain, store
from tests.support.oracle import read
from tests.support.other_programs import bytes_of, kept_open
from tests.support.program import ceramic_order, run
from tests.support.strategies import Forest, Step, check_forests

BELOW_AN_ODD_ENVELOPE = Forest(
    plan=(
        Step("init", 0, None, "delivered", noted=False),
        Step("odd data", 0, None, "delivered", noted=False),
        Step("data", 1, None, "stored", noted=False),
    ),
    rows=(0, 1, 2),
    schema_version="v0.38",
)


def reported(answer: Why) -> tuple[str, str | None, bytes | None]:
    return answer.verdict, answer.reason, answer.cause


@pytest.mark.parametrize("databases", [12, pytest.param(300, marks=pytest.mark.soak)])
def test_it_says_of_every_event_what_a_run_says(tmp_path: Path, databases: int) -> None:
    check_forests(check, tmp_path, databases)


def test_it_says_so_below_an_odd_envelope(tmp_path: Path) -> None:
    check(BELOW_AN_ODD_ENVELOPE, tmp_path / "node.db")


def check(forest: Forest, path: Path) -> None:
    """Ask about each event of a database, and compare with what a dry run left."""
    forest.store(path)
    batches: list[pa.RecordBatch] = []
    dry_run(path, RunOptions(), batches)
    left = {
        row["cid"]: (row["reason"], row["cause"]) for batch in batches for row in batch.to_pylist()
    }
    for cid, number in read(path).numbers.items():
        answer = why(path, cid_text(cid))
        if number is not None:
            assert reported(answer) == ("delivered", None, None)
            assert f"number {number:,}" in answer.sentence
        elif cid in left:
            reason, cause = left[cid]
            assert reported(answer) == (
                "waiting" if reason in WAITING else "rejected",
                reason,
                cause,
            )
        else:
            assert reported(answer) == ("deliverable", None, None)
        assert answer.chain[0].cid == cid
        assert answer.sentence
        assert answer.advice


def test_a_missing_event_is_the_end_of_the_chain_and_to_be_fetched(tmp_path: Path) -> None:
    stream = chain(6)
    path = store(tmp_path / "node.db", [*stream[:2], *stream[3:]])
    answer = why(path, cid_text(stream[5].cid))
    assert [step.cid for step in answer.chain] == [event.cid for event in stream[5:1:-1]]
    assert answer.chain[-1].rowid is None
    assert (
        answer.sentence
        == f"It waits for `{cid_text(stream[2].cid)}`, which the database does not hold."
    )
    assert answer.advice.startswith("Fetch that event from another node, then run again")


def test_a_rejected_ancestor_is_named_with_its_own_reason(tmp_path: Path) -> None:
    stream = chain(4)
    damaged = stream[1]._replace(blocks=stream[1].blocks[1:])
    path = store(tmp_path / "node.db", [stream[0], damaged, *stream[2:]])
    answer = why(path, cid_text(stream[3].cid))
    assert reported(answer) == ("waiting", Reason.PREV_REJECTED, damaged.cid)
    assert answer.cause_reason is Reason.PAYLOAD_MISSING
    assert (
        answer.sentence
        == f"Above it, `{cid_text(damaged.cid)}` has no payload block in the database."
    )
    assert answer.advice == "Fetch it from another node with all its blocks, then run again."
    assert why(path, cid_text(damaged.cid)).sentence == "It has no payload block in the database."


def test_a_prev_in_another_stream_is_shown(tmp_path: Path) -> None:
    one, other = chain(2, 1), chain(2, 2)
    stray = data_event(one[0].stream, other[1].cid, None)
    path = store(tmp_path / "node.db", [*one, *other, stray])
    answer = why(path, cid_text(stray.cid))
    assert reported(answer) == ("rejected", Reason.OTHER_STREAM, None)
    assert [step.cid for step in answer.chain] == [stray.cid, other[1].cid]
    assert answer.sentence == "It names a prev that belongs to another stream."


def circular() -> list[Event]:
    """A stream whose events name each other, which takes a block that does not have its hash."""
    init = init_event(1)
    first = data_event(init.stream, init.cid, None)
    second = data_event(init.stream, first.cid, None)
    payload = encode_dag_cbor({"id": CID(init.cid), "prev": CID(second.cid), "data": None})
    return [
        init,
        first._replace(blocks=(first.blocks[0]._replace(content=payload), first.blocks[1])),
        second,
    ]


def test_a_circle_is_reported(tmp_path: Path) -> None:
    init, first, second = circular()
    below = data_event(init.stream, second.cid, None)
    path = store(tmp_path / "node.db", [init, first, second, below])
    answer = why(path, cid_text(below.cid))
    assert reported(answer) == ("waiting", Reason.CYCLE, None)
    assert answer.sentence == f"Its prevs lead in a circle, back to `{cid_text(second.cid)}`."
    assert "verify --hashes" in answer.advice


@pytest.mark.parametrize(
    ("numbers", "damage"),
    [([1, 3, 2], "larger number 3"), ([1, None, 2], "though its prev is not"), ([1, 2, 3], None)],
)
def test_a_delivered_event_below_one_that_is_not_is_old_damage(
    tmp_path: Path, numbers: list[int | None], damage: str | None
) -> None:
    stream = chain(3)
    answer = why(store(tmp_path / "node.db", stream, numbers), cid_text(stream[2].cid))
    assert answer.verdict == "delivered"
    assert (damage or "number 3.") in answer.sentence
    assert ("`ceramic-order verify` lists all events like this one" in answer.advice) == (
        damage is not None
    )


def test_every_reason_has_its_sentence_and_advice(tmp_path: Path) -> None:
    stream = chain(1)
    path = store(tmp_path / "node.db", stream)
    known = why(path, cid_text(stream[0].cid))
    for reason in set(Reason) - WAITING:
        answer = Why(path, known.chain, "rejected", reason, None, reason)
        assert answer.sentence.startswith("It ")
        assert answer.advice


def test_a_long_chain_is_whole_as_json_and_shortened_for_people(tmp_path: Path) -> None:
    stream = chain(2500)
    path = store(tmp_path / "node.db", stream)
    command = ceramic_order("why", path, cid_text(stream[-1].cid))
    document = run([*command, "--json"]).document
    assert [step["cid"] for step in document["chain"]] == [
        cid_text(event.cid) for event in reversed(stream)
    ]
    assert document["verdict"] == "deliverable"
    lines = run(command).out.splitlines()
    assert lines[:2] == [
        f"{cid_text(stream[-1].cid)}: data, not delivered",
        f"prev {cid_text(stream[-2].cid)}: data, not delivered",
    ]
    assert lines[5] == "... 2,490 more ..."
    assert lines[10] == f"prev {cid_text(stream[0].cid)}: init, delivered as 1"
    assert lines[-1] == f"`ceramic-order run {path}` delivers it."


def test_the_document_is_the_documented_one(tmp_path: Path) -> None:
    init, change = chain(2)
    path = store(tmp_path / "node.db", [init, change])
    assert why(path, cid_text(change.cid)).to_json() == {
        "database": str(path),
        "cid": cid_text(change.cid),
        "verdict": "deliverable",
        "reason": None,
        "cause": None,
        "cause_reason": None,
        "sentence": "Nothing is in its way: its chain ends at the delivered event "
        f"`{cid_text(init.cid)}`.",
        "advice": f"`ceramic-order run {path}` delivers it.",
        "chain": [
            {
                "cid": cid_text(change.cid),
                "in_database": True,
                "rowid": 2,
                "kind": "data",
                "stream": cid_text(init.cid),
                "prev": cid_text(init.cid),
                "delivered": None,
            },
            {
                "cid": cid_text(init.cid),
                "in_database": True,
                "rowid": 1,
                "kind": "init",
                "stream": cid_text(init.cid),
                "prev": None,
                "delivered": 1,
            },
        ],
        "undelivered_in_stream": 0,
        "stuck": None,
    }


def test_a_cid_may_be_given_in_base32_base36_or_hex(tmp_path: Path) -> None:
    init = chain(1)[0]
    path = store(tmp_path / "node.db", [init])
    for text in (
        cid_text(init.cid),
        encode_multibase("k", init.cid),
        init.cid.hex(),
        f"0x{init.cid.hex()}",
        f" {cid_text(init.cid)}\n",
    ):
        assert why(path, text).chain[0].cid == init.cid


def test_a_cid_that_no_event_has_is_a_clear_error(tmp_path: Path) -> None:
    init, change = chain(2)
    path = store(tmp_path / "node.db", [init])
    with pytest.raises(
        CannotStartError, match=f"holds no event `{cid_text(change.cid)}`. Nothing was changed"
    ):
        why(path, cid_text(change.cid))
    with pytest.raises(CannotStartError, match="there is a block of this CID"):
        why(path, cid_text(init.blocks[0].cid))


def test_what_can_not_be_looked_up_is_said_and_that_nothing_was_changed(tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(3))
    with closing(connect(path)) as connection:
        index = "sqlite_autoindex_ceramic_one_block_1"
        page = scalar(connection, "SELECT rootpage FROM sqlite_master WHERE name = ?", (index,))
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(InterruptedRunError, match=r"malformed\. Nothing was changed\."):
        why(path, cid_text(chain(3)[2].cid))


@settings(max_examples=200, deadline=None)
@given(
    text=st.one_of(
        st.text(),
        st.text("abcdefghijklmnopqrstuvwxyz234567").map("b".__add__),
        st.binary().map(bytes.hex),
    )
)
@example(text="")
@example(text="0x")
@example(text="b")
@example(text="QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKGqDU")
def test_what_is_no_cid_is_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    with pytest.raises(CannotStartError, match=r"names no event|Can't open"):
        why(tmp_path_factory.getbasetemp() / "nowhere.db", text)


def test_a_live_database_is_asked_and_not_changed(tmp_path: Path) -> None:
    stream = chain(5)
    path = store(tmp_path / "node.db", stream)
    with kept_open(path):
        assert why(path, cid_text(stream[3].cid)).verdict == "deliverable"
        with pytest.raises(CannotStartError, match="holds no event"):
            why(path, cid_text(stream[4].cid))


def test_a_database_alone_stays_alone(tmp_path: Path) -> None:
    stream = chain(5)
    path = store(tmp_path / "node.db", stream)
    before = bytes_of(tmp_path)
    why(path, cid_text(stream[4].cid))
    assert bytes_of(tmp_path) == before


def test_of_a_delivered_init_it_says_what_its_stream_waits_for(tmp_path: Path) -> None:
    stream = chain(6)
    path = store(tmp_path / "node.db", [*stream[:2], *stream[3:]])
    found = why(path, cid_text(stream[0].cid))
    assert (found.verdict, found.undelivered) == ("delivered", 4)
    assert found.stuck is not None
    assert found.stuck.cause == stream[2].cid
    assert "But of its stream 4 events are undelivered." in found.sentence
    assert f"It waits for `{cid_text(stream[2].cid)}`" in found.sentence
    assert "Fetch that event" in found.advice
    other = why(store(tmp_path / "whole.db", stream, range(1, 7)), cid_text(stream[0].cid))
    assert (other.stuck, other.advice) == (None, "Nothing needs to be done.")


def test_it_checks_as_a_run_with_the_same_option_does(tmp_path: Path) -> None:
    stream = chain(3)
    path = store(tmp_path / "node.db", stream)
    with closing(connect(path, "rw")) as connection:
        execute(
            connection,
            f"DELETE FROM ceramic_one_event_block WHERE event_cid = x'{stream[1].cid.hex()}'",
        )
    cid = cid_text(stream[1].cid)
    for check_node in (True, False):
        left = dry_run(path, RunOptions(check_node=check_node)).run_state.reasons
        found = why(path, cid, check_node=check_node)
        assert (found.verdict == "rejected") == bool(left) == check_node
