"""A synthetic database has a node's tables and the rows it was asked for, or is not there."""

import json
import re
import resource
import signal
import time
from collections import Counter, defaultdict
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from shutil import copyfile

import pytest
from click.testing import CliRunner

from connectors.errors import CannotStartError
from connectors.schema import read_schema
from connectors.sqlite import SqliteError, connect, execute, query, scalar
from flows.cli.synth import command
from flows.synth.database import Order, create_database, write_database
from flows.synth.events import capability, data_event, did_pkh, init_event, time_event
from flows.synth.schema import SchemaVersion
from flows.synth.streams import Population, grow
from tests.support import oracle
from tests.support.insert import insert_events
from tests.support.program import ceramic_order, end, run, started
from tests.support.snapshots import SNAPSHOTS

TABLES = ("ceramic_one_event", "ceramic_one_event_block", "ceramic_one_block")
MIXED = Population(streams=60, length=8, forks=0.3, missing=0.05, delivered_streams=10, seed=4)


def rows(path: Path, sql: str) -> list[dict[str, object]]:
    with closing(connect(path)) as connection:
        found: list[dict[str, object]] = query(connection, sql).to_pylist()
    return found


def all_rows(path: Path) -> list[list[dict[str, object]]]:
    migrations = rows(path, "SELECT version, hex(checksum) FROM _sqlx_migrations")
    # a column of numbers that begins with NULLs is taken as it is only from SQLite's own text
    events = "SELECT rowid, quote(delivered) number, * FROM ceramic_one_event ORDER BY rowid"
    return [
        migrations,
        rows(path, events),
        *(rows(path, f"SELECT rowid, * FROM {table} ORDER BY rowid") for table in TABLES[1:]),
    ]


@pytest.fixture(scope="module", params=["parents", "shuffled"])
def order(request: pytest.FixtureRequest) -> Order:
    """How the rows of a database lie."""
    chosen: Order = request.param
    return chosen


@pytest.fixture(scope="module")
def mixed(order: Order, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of everything at once."""
    path = tmp_path_factory.mktemp("mixed") / "mixed.db"
    write_database(path, MIXED, order)
    return path


def test_a_database_is_sound_in_wal_mode_and_alone_in_its_folder(
    order: Order, tmp_path: Path
) -> None:
    write_database(tmp_path / "a.db", MIXED, order)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.db"]
    with closing(connect(tmp_path / "a.db")) as connection:
        assert scalar(connection, "PRAGMA integrity_check") == "ok"
        assert query(connection, "PRAGMA foreign_key_check").num_rows == 0
        assert scalar(connection, "PRAGMA journal_mode") == "wal"
        assert scalar(connection, "PRAGMA page_size") == 4096


@pytest.mark.skipif(not SNAPSHOTS.exists(), reason="no databases of a node here")
def test_tables_and_indices_are_those_of_a_node(tmp_path: Path) -> None:
    node, ours = tmp_path / "node.db", tmp_path / "ours.db"
    copyfile(SNAPSHOTS / "node-cid.db", node)
    create_database(ours).close()
    for table in TABLES:
        for pragma in ("table_info", "foreign_key_list", "index_list"):
            assert rows(ours, f"PRAGMA {pragma}({table})") == rows(
                node, f"PRAGMA {pragma}({table})"
            )


@pytest.mark.parametrize(
    ("version", "present", "migration"),
    [
        ("v0.30", set(), 20240321211325),
        ("v0.36", {"init_cid", "informant"}, 20240809205107),
        ("v0.38", {"init_cid", "informant", "is_time_event"}, 20240809205108),
    ],
)
def test_each_schema_version_has_the_columns_of_its_time_and_takes_events(
    version: SchemaVersion, present: set[str], migration: int, tmp_path: Path
) -> None:
    path = tmp_path / "old.db"
    init = init_event(1)
    with closing(create_database(path, schema_version=version)) as connection:
        insert_events(connection, [init, time_event(init.stream, init.cid)])
        schema = read_schema(connection, path)
    assert (schema.has_init_cid, schema.migration) == ("init_cid" in present, migration)
    columns = {str(row["name"]) for row in rows(path, "PRAGMA table_info(ceramic_one_event)")}
    assert columns & {"init_cid", "informant", "is_time_event"} == present
    assert len(rows(path, "SELECT cid FROM ceramic_one_event")) == 2


def test_a_block_that_events_share_is_stored_once_and_listed_for_each(tmp_path: Path) -> None:
    controller = did_pkh(1)
    cap = capability(controller, 1)
    init = init_event(1, controller=controller, cap=cap)
    data = data_event(init.stream, init.cid, {}, cap=cap)
    path = tmp_path / "shared.db"
    with closing(create_database(path)) as connection:
        insert_events(connection, [init])
        insert_events(connection, [data])
    assert len(rows(path, "SELECT multihash FROM ceramic_one_block")) == 5
    listed = rows(
        path,
        "SELECT event_cid, block_multihash, codec, idx, root"
        " FROM ceramic_one_event_block ORDER BY rowid",
    )
    assert [tuple(row.values()) for row in listed] == [
        (event.cid, one.multihash, one.codec, index, int(one.is_root))
        for event in (init, data)
        for index, one in enumerate(event.blocks)
    ]


def test_init_events_get_the_next_numbers_and_others_none_unless_numbers_are_given(
    tmp_path: Path,
) -> None:
    inits = [init_event(seed) for seed in range(3)]
    data = data_event(inits[0].stream, inits[0].cid, {})
    with closing(create_database(tmp_path / "numbers.db")) as connection:
        insert_events(connection, [data, inits[0]])
        insert_events(connection, [inits[1]], [40])
        insert_events(connection, [inits[2]])
    numbers = rows(
        tmp_path / "numbers.db", "SELECT quote(delivered) n FROM ceramic_one_event ORDER BY rowid"
    )
    assert [row["n"] for row in numbers] == ["NULL", "1", "40", "41"]


def test_an_insert_that_fails_changes_nothing(tmp_path: Path) -> None:
    one, two = init_event(1), init_event(2)
    with closing(create_database(tmp_path / "twice.db")) as connection:
        insert_events(connection, [one])
        before = all_rows(tmp_path / "twice.db")
        with pytest.raises(SqliteError, match="UNIQUE"):
            insert_events(connection, [two, one])
        execute(connection, "BEGIN IMMEDIATE")
        execute(connection, "ROLLBACK")
    assert all_rows(tmp_path / "twice.db") == before


def test_blocks_lie_next_to_their_event_in_the_order_of_the_events(mixed: Path) -> None:
    joined = rows(
        mixed,
        "SELECT e.rowid event, l.rowid listed, b.rowid block FROM ceramic_one_event e"
        " JOIN ceramic_one_event_block l ON l.event_cid = e.cid"
        " JOIN ceramic_one_block b ON b.multihash = l.block_multihash"
        " ORDER BY e.rowid, l.idx",
    )
    listed = [row["listed"] for row in joined]
    assert listed == list(range(1, len(joined) + 1))
    first_seen = list(dict.fromkeys(row["block"] for row in joined))
    assert first_seen == list(range(1, len(first_seen) + 1))


def test_rows_lie_parents_first_or_by_cid(mixed: Path, order: Order) -> None:
    contents = oracle.read(mixed)
    cids = list(contents.numbers)
    in_rows = rows(mixed, "SELECT cid FROM ceramic_one_event ORDER BY rowid")
    positions = [bytes(row["cid"]) for row in in_rows]  # type: ignore[call-overload]
    assert set(positions) == set(cids)
    if order == "shuffled":
        assert positions == sorted(positions)
        return
    at = {cid: position for position, cid in enumerate(positions)}
    parents = [
        (at[cid], at[place.prev]) for cid, place in contents.places.items() if place.prev in at
    ]
    assert all(parent < child for child, parent in parents)
    streams = [contents.places[cid].stream for cid in positions]
    changes = sum(one != two for one, two in pairwise(streams))
    assert changes > len(set(streams)) * 2, "streams are not interleaved"


def test_the_same_options_make_the_same_rows_and_another_seed_others(
    order: Order, tmp_path: Path
) -> None:
    for name, seed in (("a", 4), ("b", 4), ("c", 5)):
        write_database(tmp_path / name, Population(20, 6, 0.2, 0.1, 3, seed), order)
    assert all_rows(tmp_path / "a") == all_rows(tmp_path / "b")
    cids = [{row["cid"] for row in all_rows(tmp_path / name)[1]} for name in ("a", "c")]
    assert not cids[0] & cids[1]


def test_both_orders_hold_the_same_events(tmp_path: Path) -> None:
    for order in ("parents", "shuffled"):
        write_database(tmp_path / order, MIXED, order)
    read = [oracle.read(tmp_path / order) for order in ("parents", "shuffled")]
    assert read[0].places == read[1].places
    assert read[0].numbers == read[1].numbers


def test_the_counts_are_those_of_the_rows(order: Order, tmp_path: Path) -> None:
    counts = write_database(tmp_path / "a.db", MIXED, order)
    contents = oracle.read(tmp_path / "a.db")
    undelivered = [cid for cid, number in contents.numbers.items() if number is None]
    assert counts.events == len(contents.numbers) == len(contents.places)
    assert counts.missing == MIXED.streams * MIXED.length - counts.events
    assert counts.delivered == counts.events - len(undelivered)
    assert counts.deliverable == len(oracle.deliverable(contents))
    assert counts.waiting == len(undelivered) - counts.deliverable
    assert min(counts.missing, counts.waiting, counts.deliverable) > 0


def test_delivered_numbers_begin_at_one_without_gaps_and_come_parents_first(mixed: Path) -> None:
    contents = oracle.read(mixed)
    numbers = {cid: number for cid, number in contents.numbers.items() if number is not None}
    assert sorted(numbers.values()) == list(range(1, len(numbers) + 1))
    assert len(numbers) == 10 * MIXED.length + 50
    for cid, number in numbers.items():
        prev = contents.places[cid].prev
        assert prev is None or numbers[prev] < number


def test_only_with_forks_anchors_and_changes_share_parents() -> None:
    def children(forks: float) -> dict[bytes | None, list[str]]:
        found: dict[bytes | None, list[str]] = defaultdict(list)
        for event, _, _ in grow(Population(50, 40, forks)):
            found[event.prev].append(event.kind)
        del found[None]
        return found

    assert all(len(kinds) == 1 for kinds in children(0.0).values())
    forked = [sorted(kinds) for kinds in children(0.3).values() if len(kinds) > 1]
    assert len(forked) > 100
    assert ["data", "time"] in forked


def test_a_population_has_every_kind_of_event_and_anchors_share_their_trees() -> None:
    events = [grown.event for grown in grow(Population(400, 10))]
    kinds = Counter(event.kind for event in events)
    assert kinds.keys() == {"init", "unsigned init", "data", "time"}
    assert 0.15 < kinds["time"] / len(events) < 0.25
    shapes = Counter(len(event.blocks) for event in events if event.kind == "time")
    assert shapes.keys() == {2, 12}, "a time event is its own root, or lies ten nodes deep"
    proofs = Counter(event.blocks[1] for event in events if len(event.blocks) == 12)
    assert max(proofs.values()) > 100
    delegated = Counter(event.blocks[0] for event in events if len(event.blocks) == 3)
    assert min(delegated.values()) > 4, "a capability is shared by the events of a session"


def test_a_long_stream_never_anchors_an_event_twice() -> None:
    events = [grown.event for grown in grow(Population(1, 500, forks=0.9))]
    assert len({event.cid for event in events}) == 500
    anchored = [event.prev for event in events if event.kind == "time"]
    assert len(set(anchored)) == len(anchored) > 20


@pytest.mark.parametrize("taken", ["out.db", "out.db-wal", "out.db-shm", "out.db-journal"])
def test_a_file_in_the_way_is_refused_and_left_as_it_is(taken: str, tmp_path: Path) -> None:
    (tmp_path / taken).write_bytes(b"mine")
    with pytest.raises(CannotStartError, match=f"{taken}` exists"):
        write_database(tmp_path / "out.db", MIXED)
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [(taken, b"mine")]


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotStartError, match="No such file or directory"):
        write_database(tmp_path / "nowhere" / "out.db", MIXED)
    assert not list(tmp_path.iterdir())


FIRST_FILE = {"parents": "*/database", "shuffled": "*/events"}


@pytest.mark.parametrize("order", ["parents", "shuffled"])
def test_a_full_disk_leaves_nothing_behind(order: str, tmp_path: Path) -> None:
    command = ceramic_order("synth", tmp_path / "out.db", "--streams", 500, "--order", order)
    ended = run(command, code=3, limits={resource.RLIMIT_FSIZE: 200_000})
    assert ended.out == ""
    assert "out.db" in ended.err
    assert re.search(r"File too large|disk I/O error|disk is full", ended.err)
    assert "Nothing was left behind" in ended.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("order", ["parents", "shuffled"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_a_stop_leaves_nothing_behind(number: signal.Signals, order: str, tmp_path: Path) -> None:
    options = ("--streams", 1_000_000, "--order", order)
    with started(ceramic_order("synth", tmp_path / "out.db", *options)) as running:
        while not list(tmp_path.glob(FIRST_FILE[order])):
            assert running.poll() is None
            time.sleep(0.01)
        running.send_signal(number)
        ended = end(running)
    assert ended.code == 128 + number
    assert ended.err == f"Stopped by `{number.name}`. Nothing was left behind.\n"
    assert not list(tmp_path.iterdir())


def test_the_json_document_tells_the_counts(tmp_path: Path) -> None:
    out = tmp_path / "out.db"
    options = (
        "--streams 30 --length 5 --forks 0.2 --missing 0.1 --order shuffled"
        " --delivered 2 --seed 9 --json"
    )
    done = CliRunner().invoke(command, [str(out), *options.split()])
    assert done.exit_code == 0
    counts = write_database(tmp_path / "again.db", Population(30, 5, 0.2, 0.1, 2, 9), "shuffled")
    assert json.loads(done.stdout) == {
        "database": str(out),
        "streams": 30,
        "events": counts.events,
        "missing": counts.missing,
        "delivered": counts.delivered,
        "deliverable": counts.deliverable,
        "waiting": counts.waiting,
        "length": 5,
        "forks": 0.2,
        "order": "shuffled",
        "share_missing": 0.1,
        "streams_delivered": 2,
        "seed": 9,
    }
    assert all_rows(out) == all_rows(tmp_path / "again.db")


@pytest.mark.parametrize(
    "options",
    [
        "--streams 0",
        "--length 0",
        "--forks 1.5",
        "--missing -1",
        "--order random",
        "--delivered 1001",
    ],
)
def test_options_that_make_no_sense_are_usage_errors(options: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(command, [str(tmp_path / "out.db"), *options.split()])
    assert done.exit_code == 2
    assert options.split(maxsplit=1)[0] in done.stderr
    assert not list(tmp_path.iterdir())
