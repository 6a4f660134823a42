"""What is right passes every rule."""

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from flows.synth.database import create_database
from flows.synth.schema import SchemaVersion
from flows.verify.rules import RULES
from flows.verify.verify import verify
from tests.support.insert import insert_events
from tests.support.snapshots import SNAPSHOTS
from tests.support.world import (
    DELIVERED,
    NUMBERS,
    WORLD,
    change,
    deliver,
    log_rows,
    store,
    write_log,
)

NEW = ("anchor", "leaf", "alone")
RUN = {"anchor": 90, "alone": 100, "leaf": 110}
"""The numbers that a run could give, above those of the events that had one."""
REPLAY = {"anchor": 81, "leaf": 82, "alone": 83}


def test_a_good_database_passes_every_rule(tmp_path: Path) -> None:
    database = store(tmp_path / "db", numbers=RUN)
    baseline = store(tmp_path / "baseline", numbers=dict.fromkeys(NEW))
    log = write_log(tmp_path / "log", log_rows(REPLAY))
    verification = verify(database, baseline=baseline, log=log, hashes=True)
    assert {finding.rule.name: finding.status for finding in verification.findings} == {
        rule.name: "passed" for rule in RULES
    }
    assert (verification.events, verification.delivered) == (len(WORLD) - 1, len(DELIVERED))


def test_a_log_agrees_with_the_snapshot_that_it_was_made_from(tmp_path: Path) -> None:
    snapshot = store(tmp_path / "db", numbers=dict.fromkeys(NEW))
    verification = verify(snapshot, log=write_log(tmp_path / "log", log_rows(REPLAY)))
    assert verification.failed == set()
    assert verify(snapshot).failed == {"nothing-left"}


def test_an_empty_log_agrees_with_a_database_that_has_nothing_to_deliver(tmp_path: Path) -> None:
    assert verify(store(tmp_path / "db"), log=write_log(tmp_path / "log", [])).is_good


def test_rules_without_their_input_are_skipped(tmp_path: Path) -> None:
    verification = verify(store(tmp_path / "db"))
    assert {finding.rule.needs for finding in verification.findings if finding.is_skipped} == {
        "baseline",
        "log",
        "hashes",
    }
    assert all(
        (finding.rule.needs is not None) == finding.is_skipped for finding in verification.findings
    )


def test_an_empty_database_is_good(tmp_path: Path) -> None:
    create_database(tmp_path / "db").close()
    verification = verify(tmp_path / "db", baseline=tmp_path / "db", hashes=True)
    assert (verification.events, verification.is_good) == (0, True)


@pytest.mark.parametrize("version", ["v0.30", "v0.36", "v0.38"])
def test_every_version_of_the_schema_is_read(tmp_path: Path, version: SchemaVersion) -> None:
    stored = [WORLD[name] for name in DELIVERED]
    with closing(create_database(tmp_path / "db", schema_version=version)) as connection:
        insert_events(connection, stored, [NUMBERS[name] for name in DELIVERED])
    assert verify(tmp_path / "db", hashes=True).is_good


def test_rows_may_lie_in_any_order(tmp_path: Path) -> None:
    stored = [WORLD[name] for name in reversed(DELIVERED)]
    with closing(create_database(tmp_path / "db")) as connection:
        insert_events(connection, stored, [NUMBERS[name] for name in reversed(DELIVERED)])
    assert verify(tmp_path / "db").is_good


@pytest.mark.skipif(not SNAPSHOTS.is_dir(), reason="the snapshots are not in the repository")
@pytest.mark.parametrize("name", ["node-cid", "node-seq", "node-fork"])
def test_what_a_node_wrote_is_good_once_its_events_are_numbered_down_their_prevs(
    tmp_path: Path, name: str
) -> None:
    baseline = SNAPSHOTS / f"{name}.db"
    database = Path(shutil.copyfile(baseline, tmp_path / "db"))
    assert verify(database, hashes=True).failed == {"nothing-left"}
    deliver(database)
    verification = verify(database, baseline=baseline, hashes=True)
    assert verification.failed == set()
    assert verification.delivered == verification.events


def test_rowids_may_lie_as_far_apart_as_can_be(tmp_path: Path) -> None:
    ends = f"({-(1 << 63)}, x'01', x'f6'), ({(1 << 63) - 1}, x'02', x'f6')"
    database = change(
        store(tmp_path / "db"),
        f"INSERT INTO ceramic_one_block (rowid, multihash, bytes) VALUES {ends}",
    )  # numbers
    assert verify(database).is_good
