"""A database that clusters order, and what one process makes of it."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.cli import synth
from flows.report.digest import order_digest
from tests.support import program
from tests.support.cluster import order_of
from tests.support.oracle import Contents, check, read
from tests.support.program import python

DIGESTED = pa.schema(
    [
        ("cid", pa.binary()),
        ("delivered", pa.int64()),
        ("stream", pa.binary()),
        ("prev", pa.binary()),
    ]
)
"""The columns of an order that its digest is made of."""

POPULATION = "--streams 1800 --length 10 --forks 0.1 --missing 0.002 --order shuffled --seed 3"


class Sample(NamedTuple):
    """17,955 events with forks, in random order, some of them missing, alone in a folder."""

    path: Path
    contents: Contents
    wanted: str
    """The digest of what one process delivers."""

    def copy(self, folder: Path) -> Path:
        """A copy, alone in a new folder."""
        folder.mkdir()
        return Path(shutil.copyfile(self.path, folder / "node.db"))

    def digest(self, path: Path) -> str:
        """The order digest of what was delivered to a copy, which must be right."""
        return digest(self.contents, path)

    def digest_elsewhere(self, path: Path) -> str:
        """The same of a database that has these events at other rowids."""
        there = read(path)
        assert there.numbers.keys() == self.contents.numbers.keys()
        return digest(replace(there, numbers=self.contents.numbers), path)


def digest(before: Contents, path: Path) -> str:
    """The order digest of what was delivered, which must be right."""
    after, folder = read(path), path.with_name("order")
    rows = [
        {"cid": cid, "delivered": after.numbers[cid], **after.places[cid]._asdict()}
        for cid in check(before, after)
    ]
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows, schema=DIGESTED), folder / "order-00000.parquet")
    return order_digest(folder, folder)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """A database, and what one process makes of it."""
    path = tmp_path_factory.mktemp("sample") / "node.db"
    synth.command.main([str(path), *POPULATION.split(), "--quiet"], standalone_mode=False)
    ordered = Path(shutil.copyfile(path, tmp_path_factory.mktemp("one") / "node.db"))
    program.run(python("-m", "bytewax.run", order_of(ordered)))
    contents = read(path)
    return Sample(path, contents, digest(contents, ordered))
