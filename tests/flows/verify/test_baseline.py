"""What a run may not have changed is found, and old damage is not taken for new."""

# SQL of our own values

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.synth.events import block, data_event
from flows.verify.verification import Verification
from flows.verify.verify import verify
from tests.support.world import (
    WORLD,
    change,
    copy,
    literal,
    set_number,
    store,
    the,
    without_unique_numbers,
)

LONG = block(b"\x5a\x00\x02\x00\x00" + bytes(0x20000))
"""A block that is too long to be read together with others."""


def after(tmp_path: Path, *statements: str) -> Verification:
    """The verification of a good database that was changed, compared with itself as it was."""
    baseline = store(tmp_path / "baseline", numbers={"fork": None})
    values = f"{literal(LONG.multihash)}, {literal(LONG.content)}"
    change(baseline, f"INSERT INTO ceramic_one_block VALUES ({values})")
    database = change(copy(baseline, "db"), set_number("fork", "95"))
    return verify(change(database, *statements), baseline=baseline)


def found(verification: Verification) -> dict[str, tuple[int, int]]:
    """Of each rule that found something, how much of it is new and how much is old."""
    return {
        finding.rule.name: (finding.violations, finding.in_baseline)
        for finding in verification.findings
        if finding.violations or finding.in_baseline
    }


def test_new_numbers_above_the_old_ones_are_right(tmp_path: Path) -> None:
    assert found(after(tmp_path)) == {}


def test_a_changed_old_number_is_found(tmp_path: Path) -> None:
    assert found(after(tmp_path, set_number("leaf", "1000"))) == {"old-number-kept": (1, 0)}


@pytest.mark.parametrize(
    ("before", "now"), [("'soon'", "'sooner'"), ("75.5", "75.25"), ("x'01'", "1000")]
)
def test_an_old_value_that_is_no_number_and_has_changed_is_found(
    tmp_path: Path, before: str, now: str
) -> None:
    baseline = change(store(tmp_path / "baseline"), set_number("leaf", before))
    database = change(copy(baseline, "db"), set_number("leaf", now))
    assert found(verify(database, baseline=baseline))["old-number-kept"] == (1, 0)
    assert "old-number-kept" not in found(verify(baseline, baseline=baseline))


def test_an_old_number_that_was_taken_away_is_found(tmp_path: Path) -> None:
    assert found(after(tmp_path, set_number("leaf", "NULL"))) == {
        "old-number-kept": (1, 0),
        "nothing-left": (1, 0),
    }


def test_a_new_number_in_a_gap_of_the_old_ones_is_found(tmp_path: Path) -> None:
    assert found(after(tmp_path, set_number("fork", "35"))) == {"new-number-above": (1, 0)}


UNUSED = literal(LONG.multihash)
CHANGES = {
    "an init CID": f"UPDATE ceramic_one_event SET init_cid = NULL WHERE {the('leaf')}",
    "an order key": (
        "UPDATE ceramic_one_event SET order_key = CAST(order_key || x'00' AS BLOB)"
        f" WHERE {the('leaf')}"
    ),
    "a type": f"UPDATE ceramic_one_event SET informant = CAST('a' AS BLOB) WHERE {the('leaf')}",
    "the rowid of an event": f"UPDATE ceramic_one_event SET rowid = 1000 WHERE {the('leaf')}",
    "a discovered time": (
        f"UPDATE ceramic_one_event SET discovered = '2026-01-01 00:00:00' WHERE {the('leaf')}"
    ),
    "a block": f"UPDATE ceramic_one_block SET bytes = x'00' WHERE multihash = {UNUSED}",
    "the last byte of a long block": (
        "UPDATE ceramic_one_block"
        " SET bytes = CAST(substr(bytes, 1, length(bytes) - 1) || x'01' AS BLOB)"
        f" WHERE multihash = {UNUSED}"
    ),
    "a block that is gone": f"DELETE FROM ceramic_one_block WHERE multihash = {UNUSED}",
    "a new block": "INSERT INTO ceramic_one_block VALUES (x'1220', x'00')",
    "a new block in the first possible row": (
        f"INSERT INTO ceramic_one_block (rowid, multihash, bytes) VALUES ({-(2**63)}, x'00', x'00')"
    ),
    "a new block in the last possible row": (
        "INSERT INTO ceramic_one_block (rowid, multihash, bytes)"
        f" VALUES ({2**63 - 1}, x'00', x'00')"
    ),
    "a listed block's place": (
        f"UPDATE ceramic_one_event_block SET idx = 9 WHERE event_{the('alone')} AND idx = 1"
    ),
    "a new table": "CREATE TABLE delivered_order (rowid INTEGER PRIMARY KEY)",
    "an index that is gone": "DROP INDEX idx_ceramic_one_event_block_block_multihash",
    "a migration": (
        "UPDATE _sqlx_migrations SET execution_time = 1"
        " WHERE version = (SELECT max(version) FROM _sqlx_migrations)"
    ),
}


@pytest.mark.parametrize("statement", CHANGES.values(), ids=CHANGES)
def test_any_other_change_is_found(tmp_path: Path, statement: str) -> None:
    rowids = 2 if "rowid = 1000" in statement else 1
    assert found(after(tmp_path, statement)) == {"nothing-else-changed": (rowids, 0)}


def test_rows_are_compared_over_many_pages(tmp_path: Path) -> None:
    baseline = store(tmp_path / "baseline")
    many = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)"
        " INSERT INTO ceramic_one_block SELECT CAST(i AS BLOB), x'00' FROM n"
    )
    database = copy(change(baseline, many), "db")
    removed = (
        "DELETE FROM ceramic_one_block"
        " WHERE multihash IN (CAST(7 AS BLOB), CAST(2000 AS BLOB), CAST(2001 AS BLOB))"
    )
    altered = "UPDATE ceramic_one_block SET bytes = x'01' WHERE multihash = CAST(4000 AS BLOB)"
    added = "INSERT INTO ceramic_one_block VALUES (CAST(5001 AS BLOB), x'00')"
    assert found(verify(change(database, removed, altered, added), baseline=baseline)) == {
        "nothing-else-changed": (5, 0)
    }


def swapped(path: Path) -> Path:
    return store(path, numbers={"leaf": 40, "anchor": 60})


def doubled(path: Path) -> Path:
    return change(without_unique_numbers(store(path)), set_number("leaf", "90"))


def gone(path: Path) -> Path:
    return change(
        store(path),
        "DELETE FROM ceramic_one_block"
        f" WHERE multihash = {literal(WORLD['leaf'].blocks[-1].multihash)}",
    )


@pytest.mark.parametrize(
    ("old_damage", "rule", "count"),
    [(swapped, "parent-first", 1), (doubled, "number-unique", 2), (gone, "block-present", 1)],
)
def test_damage_in_the_baseline_is_counted_apart(
    tmp_path: Path, old_damage: Callable[[Path], Path], rule: str, count: int
) -> None:
    baseline = old_damage(tmp_path / "baseline")
    database = copy(baseline, "db")
    verification = verify(database, baseline=baseline)
    assert found(verification) == {rule: (0, count)}
    assert verification.is_good
    assert verify(database).failed == {rule}


def test_a_parent_that_a_run_delivers_after_its_child_is_old_damage(tmp_path: Path) -> None:
    baseline = store(tmp_path / "baseline", numbers={"anchor": None})
    verification = verify(
        change(copy(baseline, "db"), set_number("anchor", "1000")), baseline=baseline
    )
    assert found(verification) == {"parent-first": (0, 1)}


def test_new_damage_next_to_old_damage_still_counts(tmp_path: Path) -> None:
    baseline = store(
        tmp_path / "baseline", numbers={"leaf": 40, "anchor": 60, "change": None, "alone": None}
    )
    database = change(copy(baseline, "db"), set_number("alone", "100"), set_number("change", "110"))
    verification = verify(database, baseline=baseline)
    assert found(verification) == {"parent-first": (1, 1)}
    (finding,) = (finding for finding in verification.findings if finding.violations)
    assert [violation.in_baseline for violation in finding.first] == [False, True]


def test_a_new_event_is_no_part_of_a_run(tmp_path: Path) -> None:
    event = data_event(WORLD["init"].stream, WORLD["leaf"].cid, None)
    verification = verify(
        store(tmp_path / "db", more=[(event, 1000)]), baseline=store(tmp_path / "baseline")
    )
    assert found(verification) == {"nothing-else-changed": (5, 0)}
