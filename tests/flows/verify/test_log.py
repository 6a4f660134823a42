"""A log is held to the database that it was made from, or to the one that a run has delivered."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from connectors.errors import CannotStartError
from flows.verify.verify import verify
from tests.support.world import WORLD, LogRow, log_rows, store, write_log

NEW = ("anchor", "leaf", "alone")
REPLAY = {"anchor": 91, "leaf": 92, "alone": 93}
RUN = {"alone": 91, "anchor": 92, "leaf": 93}


def altered(row: int, **cells: object) -> Callable[[list[LogRow]], None]:
    return lambda rows: rows[row].update(cells)


def added(**cells: object) -> Callable[[list[LogRow]], None]:
    return lambda rows: rows.append({**rows[-1], **cells})


@pytest.mark.parametrize("numbers", [dict.fromkeys(NEW), RUN], ids=["undelivered", "delivered"])
@pytest.mark.parametrize(
    ("rule", "damage", "count"),
    [
        ("log-row-real", altered(0, rowid=1), 1),
        ("log-row-real", altered(0, stream=WORLD["unsigned"].cid), 1),
        ("log-row-real", altered(0, prev=WORLD["init"].cid), 1),
        ("log-row-real", altered(0, prev=None), 1),
        ("log-row-real", altered(0, kind="data"), 1),
        ("log-row-real", added(cid=WORLD["lost"].cid, delivered=94), 1),
        ("log-row-real", added(delivered=94), 2),
        ("log-order", altered(1, delivered=93), 1),
        ("log-order", altered(2, delivered=None), 1),
    ],
)
def test_a_wrong_row_is_found_by_the_one_rule_that_it_breaks(
    tmp_path: Path,
    numbers: dict[str, int | None],
    rule: str,
    damage: Callable[[list[LogRow]], None],
    count: int,
) -> None:
    rows = log_rows(REPLAY)
    damage(rows)
    verification = verify(
        store(tmp_path / "db", numbers=numbers), log=write_log(tmp_path / "log", rows)
    )
    assert verification.failed == {rule}
    assert [finding.violations for finding in verification.findings if finding.violations] == [
        count
    ]


def without(name: str) -> Callable[[Path], None]:
    return lambda log: (log / name).unlink()


def emptied(name: str) -> Callable[[Path], None]:
    return lambda log: pq.write_table(pq.read_table(log / name).slice(0, 0), log / name)


def swapped(log: Path) -> None:
    first, second = (log / f"order-0000{number}.parquet" for number in (0, 1))
    first.rename(log / "kept")
    second.rename(first)
    (log / "kept").rename(second)


def documented(**fields: object) -> Callable[[Path], None]:
    def change_document(log: Path) -> None:
        document = json.loads((log / "replay.json").read_text())
        (log / "replay.json").write_text(json.dumps({**document, **fields}))

    return change_document


@pytest.mark.parametrize(
    ("rules", "damage"),
    [
        ({"log-left", "log-document"}, without("waiting.parquet")),
        ({"log-left", "log-document"}, emptied("waiting.parquet")),
        ({"log-document"}, without("rejected.parquet")),
        ({"log-document"}, without("replay.json")),
        ({"log-document"}, lambda log: (log / "replay.json").write_text("{")),
        ({"log-document"}, documented(order_digest="0" * 64)),
        ({"log-document"}, documented(delivered=4)),
        ({"log-document"}, documented(waiting=0)),
        ({"log-document"}, documented(first_number=1)),
        ({"log-document"}, documented(reasons={})),
        ({"log-document"}, documented(reasons=3)),
        ({"log-document"}, documented(files=[])),
        ({"log-document"}, documented(files=[{"name": "order-00000.parquet"}])),
        ({"log-order", "log-document"}, swapped),
    ],
)
def test_a_damaged_log_is_found(
    tmp_path: Path, rules: set[str], damage: Callable[[Path], None]
) -> None:
    log = write_log(tmp_path / "log", log_rows(REPLAY))
    damage(log)
    assert verify(store(tmp_path / "db", numbers=RUN), log=log).failed == rules


def test_rows_in_another_order_are_found(tmp_path: Path) -> None:
    rows = log_rows(REPLAY)
    log = write_log(tmp_path / "log", [rows[0], rows[2], rows[1]])
    assert verify(store(tmp_path / "db", numbers=RUN), log=log).failed == {"log-order"}


def test_numbers_with_gaps_are_found(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", log_rows({"anchor": 91, "leaf": 92, "alone": 94}))
    assert verify(store(tmp_path / "db", numbers=RUN), log=log).failed == {"log-order"}


def test_a_list_of_other_events_is_found(tmp_path: Path) -> None:
    database = store(tmp_path / "db", numbers=RUN)
    for number, names in enumerate((("orphan",), ("orphan", "grandchild", "leaf"))):
        log = write_log(tmp_path / str(number), log_rows(REPLAY), waiting=names)
        assert verify(database, log=log).failed == {"log-left"}
    twice = write_log(tmp_path / "twice", log_rows(REPLAY), rejected=("orphan",))
    assert verify(database, log=twice).failed == {"log-left"}


def test_a_log_that_is_not_published_yet_needs_no_document(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", log_rows(REPLAY))
    (log / "replay.json").unlink()
    assert verify(store(tmp_path / "db", numbers=RUN), log=log, is_log_published=False).is_good


@pytest.mark.parametrize("numbers", [dict.fromkeys(NEW), RUN], ids=["undelivered", "delivered"])
def test_a_child_before_its_parent_is_found(tmp_path: Path, numbers: dict[str, int | None]) -> None:
    log = write_log(tmp_path / "log", log_rows({"leaf": 91, "anchor": 92, "alone": 93}))
    assert verify(store(tmp_path / "db", numbers=numbers), log=log).failed == {"log-order"}


def test_a_parent_outside_the_log_counts_with_its_number_in_the_database(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", log_rows({"leaf": 91}))
    database = store(tmp_path / "db", numbers={"anchor": 95, "leaf": None})
    assert verify(database, log=log).failed == {"log-order", "log-agrees"}


@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        ({"anchor": 91, "leaf": None, "alone": 92}, 1),
        ({**RUN, "fork": 94}, 1),
        ({"anchor": None, "leaf": None, "alone": None, "fork": 94}, 1),
        ({**RUN, "fork": 91_000, "change": 90}, 1),
    ],
    ids=[
        "in the log only",
        "in the database only",
        "numbered above what the log begins with",
        "numbered long after",
    ],
)
def test_other_deliveries_than_those_of_the_log_are_found(
    tmp_path: Path, numbers: dict[str, int | None], found: int
) -> None:
    verification = verify(
        store(tmp_path / "db", numbers=numbers), log=write_log(tmp_path / "log", log_rows(REPLAY))
    )
    assert verification.failed == {"log-agrees"}
    assert [finding.violations for finding in verification.findings if finding.violations] == [
        found
    ]


def test_with_a_baseline_exactly_its_undelivered_events_are_in_the_log(tmp_path: Path) -> None:
    baseline = store(tmp_path / "baseline", numbers=dict.fromkeys(NEW))
    database = store(tmp_path / "db", numbers=RUN)
    assert verify(
        database, baseline=baseline, log=write_log(tmp_path / "whole", log_rows(REPLAY))
    ).is_good
    short = write_log(tmp_path / "short", log_rows({"anchor": 95, "leaf": 96}))
    assert verify(database, baseline=baseline, log=short).failed == {"log-agrees"}
    long = write_log(tmp_path / "long", log_rows({"fork": 90, **REPLAY}))
    assert verify(database, baseline=baseline, log=long).failed == {"log-agrees"}


def test_an_event_of_the_log_must_be_one_that_a_node_could_serve(tmp_path: Path) -> None:
    whole = WORLD["leaf"]
    database = store(
        tmp_path / "db",
        numbers=dict.fromkeys(NEW),
        replaced={"leaf": whole._replace(blocks=whole.blocks[-1:])},
    )
    others = {"anchor": 91, "alone": 92}
    log = write_log(tmp_path / "log", log_rows(others), rejected=("leaf",))
    assert verify(database, log=log).is_good
    assert (
        "block-present"
        in verify(database, log=write_log(tmp_path / "more", log_rows(REPLAY))).failed
    )


def test_a_log_with_something_left_out_leaves_it_undelivered(tmp_path: Path) -> None:
    snapshot = store(tmp_path / "db", numbers=dict.fromkeys(NEW))
    assert verify(
        snapshot, log=write_log(tmp_path / "log", log_rows({"anchor": 91, "alone": 92}))
    ).failed == {"nothing-left", "log-left"}


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_regular_file_is_no_part_of_a_log(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    folder = write_log(tmp_path / "log", [])
    make(folder / "order-00002.parquet")
    with pytest.raises(CannotStartError, match=r"`order-00002\.parquet` is no regular file"):
        verify(store(tmp_path / "db"), log=folder)
    (folder / "order-00002.parquet").rename(tmp_path / "other")
    (folder / "replay.json").unlink()
    make(folder / "replay.json")
    assert "log-document" in verify(store(tmp_path / "other.db"), log=folder).failed


@pytest.mark.parametrize(
    "content", [None, b"", b"PAR1 it is not"], ids=["no file", "an empty file", "no Parquet"]
)
def test_a_folder_that_is_no_log_is_refused(tmp_path: Path, content: bytes | None) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    if content is not None:
        (folder / "order-00000.parquet").write_bytes(content)
    with pytest.raises(CannotStartError, match=r"log.*Nothing was changed"):
        verify(store(tmp_path / "db"), log=folder)
