"""News: what other programs have written, and nothing where they have not."""

from contextlib import closing
from pathlib import Path

import pytest

from connectors.news import News
from connectors.sqlite import connect, execute
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
