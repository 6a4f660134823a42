"""What is and is not a ceramic-one database in which numbers can be written."""

from contextlib import closing
from pathlib import Path

import pytest

from connectors.claim import claim
from connectors.errors import CannotStartError
from connectors.schema import read_schema
from connectors.snapshot import Reader
from connectors.sqlite import connect, connect_reader, execute
from flows.synth.database import create_database
from flows.synth.schema import SchemaVersion
from tests.support.job import chain, deliver, store
from tests.support.other_programs import bytes_of, is_in_use


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return store(tmp_path / "node.db", chain(3))


@pytest.mark.parametrize(
    ("version", "has_init_cid"), [("v0.30", False), ("v0.36", True), ("v0.38", True)]
)
def test_every_schema_version_is_accepted(
    tmp_path: Path, version: SchemaVersion, *, has_init_cid: bool
) -> None:
    path = tmp_path / "node.db"
    with closing(create_database(path, schema_version=version)) as connection:
        schema = read_schema(connection, path)
    assert schema.has_init_cid == has_init_cid
    assert schema.migration is not None


def test_a_database_without_migrations_is_accepted(path: Path) -> None:
    with closing(connect(path, "rw")) as connection:
        execute(connection, "DROP TABLE _sqlx_migrations")
        assert read_schema(connection, path).migration is None


def test_a_missing_table_or_column_is_named(path: Path) -> None:
    with closing(connect(path, "rw")) as connection:
        execute(connection, "ALTER TABLE ceramic_one_block RENAME COLUMN bytes TO contents")
        with pytest.raises(CannotStartError, match=r"column `ceramic_one_block\.bytes` is missing"):
            read_schema(connection, path)
        execute(connection, "DROP TABLE ceramic_one_event_block")
        with pytest.raises(CannotStartError, match="table `ceramic_one_event_block` is missing"):
            read_schema(connection, path)


@pytest.mark.parametrize(
    "content", [b"no database, " * 500, b"SQLite format 3\0" + b"\xff" * 5000, b"x"]
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "node.db"
    path.write_bytes(content)
    with (
        closing(connect_reader(path)) as connection,
        pytest.raises(CannotStartError, match=r"Can't read|is not a ceramic-one database"),
    ):
        read_schema(connection, path)


ONE_EVENT = "ceramic_one_event"
ADD_TRIGGER = (
    "CREATE TRIGGER counts AFTER UPDATE ON Ceramic_One_Event "
    "BEGIN UPDATE ceramic_one_block SET bytes = x''; END"
)


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        ([ADD_TRIGGER], "has triggers on `ceramic_one_event`"),
        ([f"CREATE INDEX odd ON {ONE_EVENT} (delivered % 10)"], "`odd` is on an expression"),
        ([f"CREATE UNIQUE INDEX odd ON {ONE_EVENT} (cid, delivered)"], "`odd`"),
        (
            [f"CREATE UNIQUE INDEX odd ON {ONE_EVENT} (ahash_0) WHERE delivered IS NOT NULL"],
            "`odd`",
        ),
        ([f"ALTER TABLE {ONE_EVENT} ADD COLUMN small INT CHECK (delivered < 9)"], "a `CHECK`"),
        ([f"ALTER TABLE {ONE_EVENT} ADD COLUMN rowid TEXT"], "a column of its own named `rowid`"),
        ([f"ALTER TABLE {ONE_EVENT} ADD COLUMN twice AS (delivered * 2)"], "twice` is generated"),
        (
            [
                f"ALTER TABLE {ONE_EVENT} RENAME TO events",
                f"CREATE VIEW {ONE_EVENT} AS SELECT * FROM events",
            ],
            "is a view",
        ),
        (
            [
                f"DROP TABLE {ONE_EVENT}",
                f"CREATE VIRTUAL TABLE {ONE_EVENT} USING fts5 (order_key, cid, delivered)",
            ],
            "is a virtual table",
        ),
        (
            [
                f"DROP TABLE {ONE_EVENT}",
                f"CREATE TABLE {ONE_EVENT} (order_key, cid PRIMARY KEY, delivered) WITHOUT ROWID",
            ],
            "is a table without rowids",
        ),
        (
            [
                f"DROP TABLE {ONE_EVENT}",
                f"CREATE TABLE {ONE_EVENT} (order_key, cid, delivered TEXT)",
            ],
            "has the type `TEXT`",
        ),
        ([f"UPDATE {ONE_EVENT} SET delivered = x'01' WHERE rowid = 1"], "a blob of 1 bytes"),
        ([f"UPDATE {ONE_EVENT} SET delivered = 'many' WHERE rowid = 1"], "the text `many`"),
        ([f"UPDATE {ONE_EVENT} SET delivered = 2.5 WHERE rowid = 1"], "the real number `2.5`"),
        ([f"UPDATE {ONE_EVENT} SET delivered = {2**63 - 1} WHERE rowid = 1"], "hardly any is left"),
    ],
)
def test_a_database_in_which_a_number_would_do_more_or_can_not_be_is_refused(
    path: Path, statements: list[str], words: str
) -> None:
    with closing(connect(path, "rw")) as connection:
        for statement in statements:
            execute(connection, statement)
    assert words in refused_alike(path)


def refused_alike(path: Path) -> str:
    """What a run, and in the same words a dry run, says of a database of which no byte changes."""
    before = bytes_of(path.parent)
    with pytest.raises(CannotStartError) as run:
        claim(path)
    with (
        pytest.raises(CannotStartError) as dry_run,
        Reader(path) as reader,
        closing(reader(path)) as connection,
    ):
        reader.require_orderable(connection)
    assert str(dry_run.value) == str(run.value)
    assert bytes_of(path.parent) == before
    return str(run.value)


def test_a_file_that_is_longer_than_its_header_says_is_refused(path: Path) -> None:
    with path.open("ab") as file:
        file.write(bytes(4096))
    # SQLite believes the page count where this says that it was written last
    header = path.read_bytes()[:100]
    assert header[24:28] == header[92:96]
    assert "by its header it has" in refused_alike(path)


def test_indices_and_tables_that_forbid_nothing_are_no_hindrance(path: Path) -> None:
    with closing(connect(path, "rw")) as connection:
        execute(connection, f"CREATE INDEX more ON {ONE_EVENT} (delivered) WHERE delivered IS NULL")
        execute(connection, "CREATE TABLE other (number REFERENCES ceramic_one_event (delivered))")
    claim(path).close()
    assert not is_in_use(path)


def test_strict_tables_are_ordered_as_others_are(path: Path) -> None:
    with closing(connect(path, "rw")) as connection:
        columns = "order_key BLOB UNIQUE, cid BLOB PRIMARY KEY, delivered INTEGER UNIQUE"
        execute(connection, f"CREATE TABLE strict_events ({columns}, init_cid BLOB) STRICT")
        execute(
            connection,
            "INSERT INTO strict_events (rowid, order_key, cid, delivered, init_cid) "
            f"SELECT rowid, order_key, cid, delivered, init_cid FROM {ONE_EVENT}",
        )
        execute(connection, f"DROP TABLE {ONE_EVENT}")
        execute(connection, f"ALTER TABLE strict_events RENAME TO {ONE_EVENT}")
    claim(path).close()
    assert deliver(path).delivered == 2
