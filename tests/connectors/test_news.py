"""News: what other programs have written, and nothing where they have not."""

from contextlib import closing
from pathlib import Path

import pytest

from connectors.news import BLOCKS_TOGETHER, News
from connectors.sqlite import connect, execute
from connectors.undelivered import LAST
from tests.connectors.test_plans import with_statistics
from tests.support.job import chain, store
from tests.support.other_programs import execute_elsewhere

RENUMBER = "UPDATE ceramic_one_event SET delivered = 7 WHERE delivered = 1"


def test_nothing_is_new_until_another_program_commits(tmp_path: Path) -> None:
    path = store(tmp_path / "node.db", chain(3))
    with closing(connect(path, "rw")) as connection:
        news = News(connection)
        # an idle database costs nothing, from the first look on
        assert not news.has_come()
        execute(connection, RENUMBER)
        assert not news.has_come()
        execute_elsewhere(path, "DELETE FROM ceramic_one_event WHERE rowid = 3")
        assert (news.has_come(), news.has_come()) == (True, False)
        assert not news.is_rebuilt()


@pytest.mark.parametrize("sql", ["VACUUM", "CREATE TABLE other (value)"])
def test_a_vacuum_or_another_schema_makes_all_new(tmp_path: Path, sql: str) -> None:
    path = store(tmp_path / "node.db", chain(3))
    with closing(connect(path, "rw")) as connection:
        news = News(connection)
        execute_elsewhere(path, sql)
        assert news.is_rebuilt()


@pytest.mark.parametrize("stat", ["1 1 1", "100 1 1"])
def test_new_blocks_are_found_at_whatever_rowids_and_once(tmp_path: Path, stat: str) -> None:
    path = with_statistics(store(tmp_path / "node.db", chain(3)), stat)
    with closing(connect(path, "rw")) as connection:
        news = News(connection)
        rowids = (50, 50 + BLOCKS_TOGETHER, 10**12, LAST)
        for number, rowid in enumerate(rowids):
            execute_elsewhere(
                path,
                "INSERT INTO ceramic_one_block (rowid, multihash, bytes)"
                f" VALUES ({rowid}, x'aa0{number}', x'')",
            )
        found = [key for keys in news.blocks() for key in keys.to_pylist()]
        assert [key for key in found if len(key) == 2] == [bytes([0xAA, n]) for n in range(4)]
        assert not list(news.blocks())
        execute_elsewhere(path, "DELETE FROM ceramic_one_block WHERE rowid > 40")
        assert not list(news.blocks())
