"""`ceramic-order verify` as a program: what it prints, leaves behind, and exits with."""

from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from connectors.sqlite import connect, query
from flows.verify.cids import cid_text
from flows.verify.report import VIOLATIONS
from flows.verify.rules import RULES
from tests.support import program
from tests.support.program import Ended, ceramic_order
from tests.support.world import WORLD, change, copy, set_number, store


def run(*arguments: str | Path) -> Ended:
    """Run `ceramic-order verify` to its end, whatever that is."""
    return program.run(ceramic_order("verify", *arguments), code=None)


def test_a_good_database_exits_0_and_its_folder_stays_as_it_is(tmp_path: Path) -> None:
    database = store(tmp_path / "db")
    before = {file: file.stat().st_mtime_ns for file in (*tmp_path.iterdir(), tmp_path)}
    ended = run(database, "--hashes", "--baseline", database)
    assert ended.code == 0
    assert "parent-first" in ended.out
    assert ended.err == ""
    assert {file: file.stat().st_mtime_ns for file in (*tmp_path.iterdir(), tmp_path)} == before


def test_a_violation_exits_1_and_names_the_event(tmp_path: Path) -> None:
    ended = run(store(tmp_path / "db", numbers={"leaf": 40, "anchor": 60}))
    assert ended.code == 1
    assert (
        f"{cid_text(WORLD['leaf'].cid)} number 40: "
        f"prev has number 60 ({cid_text(WORLD['anchor'].cid)})" in ended.out
    )


def test_old_damage_exits_0(tmp_path: Path) -> None:
    baseline = store(tmp_path / "baseline", numbers={"leaf": 40, "anchor": 60})
    assert run(copy(baseline, "db"), "--baseline", baseline).code == 0


def test_json_is_the_whole_output_and_keeps_its_contract(tmp_path: Path) -> None:
    baseline = store(tmp_path / "baseline", numbers={"leaf": 40, "anchor": 60})
    database = change(copy(baseline, "db"), set_number("fork", "NULL"))
    ended = run(database, "--baseline", baseline, "--json")
    assert ended.code == 1
    document = ended.document
    rules = {entry.pop("rule"): entry for entry in document.pop("rules")}
    assert document.pop("seconds") > 0
    assert document.pop("events_per_second") > 0
    assert document == {
        "database": str(database),
        "baseline": str(baseline),
        "log": None,
        "ok": False,
        "events": 11,
        "delivered": 8,
        "undelivered": 3,
        "blocks": len(
            {
                block.multihash
                for name, event in WORLD.items()
                if name != "lost"
                for block in event.blocks
            }
        ),
        "unknown_hashes": None,
        "violations": 2,
        "in_baseline": 1,
    }
    assert list(rules) == [rule.name for rule in RULES]
    assert rules["parent-first"] == {
        "promise": "A delivered event has a larger number than its prev.",
        "status": "passed",
        "needs": None,
        "violations": 0,
        "in_baseline": 1,
        "first": [
            {
                "cid": cid_text(WORLD["leaf"].cid),
                "number": 40,
                "related": cid_text(WORLD["anchor"].cid),
                "detail": "prev has number 60",
                "in_baseline": True,
            }
        ],
    }
    assert {
        name: rules[name]["status"] for name in ("nothing-left", "old-number-kept", "hash-right")
    } == {
        "nothing-left": "failed",
        "old-number-kept": "failed",
        "hash-right": "skipped",
    }
    assert rules["nothing-left"]["first"][0]["number"] is None


def test_the_report_holds_every_violation(tmp_path: Path) -> None:
    names = ("fork", "leaf", "anchor", "second", "first", "change", "alone")
    database = store(tmp_path / "db", numbers={**dict.fromkeys(names), "orphan": 5})
    report = tmp_path / "new" / "report"
    ended = run(database, "--report", report, "--json")
    assert [
        len(entry["first"]) for entry in ended.document["rules"] if entry["rule"] == "nothing-left"
    ] == [5]
    found = pq.read_table(report / "violations.parquet")
    assert found.schema.equals(VIOLATIONS)
    rows = found.to_pylist()
    left = {row["cid"] for row in rows if row["rule"] == "nothing-left"}
    assert left == {WORLD[name].cid for name in (*names, "grandchild")}
    (orphan,) = (row for row in rows if row["rule"] == "parent-delivered")
    assert (orphan["cid_text"], orphan["related_text"]) == (
        cid_text(WORLD["orphan"].cid),
        cid_text(WORLD["lost"].cid),
    )
    assert len(rows) == len(left) + 1
    assert [file.name for file in report.iterdir()] == ["violations.parquet"]


def test_a_report_of_nothing_is_an_empty_table(tmp_path: Path) -> None:
    assert run(store(tmp_path / "db"), "--report", tmp_path / "report").code == 0
    assert pq.read_table(tmp_path / "report" / "violations.parquet").equals(
        VIOLATIONS.empty_table()
    )


def refused(*arguments: str | Path) -> str:
    ended = run(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("Error: ")
    assert "changed." in ended.err
    return ended.err


@pytest.mark.parametrize("option", ["database", "--baseline"])
def test_what_is_no_database_is_refused_and_named(tmp_path: Path, option: str) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"no database" * 100)
    arguments = (other,) if option == "database" else (store(tmp_path / "db"), option, other)
    assert f"`{other}`" in refused(*arguments)
    assert f"`{tmp_path / 'none'}`" in refused(*arguments[:-1], tmp_path / "none")


@pytest.mark.parametrize(
    "table", ["ceramic_one_event", "ceramic_one_event_block", "ceramic_one_block"]
)
def test_a_damaged_page_is_reported_and_is_no_finding(tmp_path: Path, table: str) -> None:
    database = store(tmp_path / "db")
    with closing(connect(database, "rw")) as connection:
        root = query(connection, "SELECT rootpage FROM sqlite_master WHERE name = ?", (table,))[
            "rootpage"
        ][0].as_py()
    with database.open("r+b") as file:
        file.seek(4096 * (root - 1))
        file.write(b"\xff" * 4096)
    assert "malformed" in refused(database)
    assert "malformed" in refused(store(tmp_path / "good"), "--baseline", database)


def test_a_database_that_is_in_use_is_refused(tmp_path: Path) -> None:
    database = store(tmp_path / "db")
    with closing(connect(database, "rw")) as connection:
        query(connection, "SELECT count(*) FROM ceramic_one_event")
        assert "open in another process" in refused(database)


def test_a_folder_that_can_not_be_made_is_refused(tmp_path: Path) -> None:
    database = store(tmp_path / "db")
    assert f"`{database / 'report'}`" in refused(database, "--report", database / "report")
