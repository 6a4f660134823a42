"""Makes the tables of facts from the stored rows; each file of `sql/facts` says what it makes."""

from collections.abc import Callable
from importlib.resources import files

import duckdb

from flows.verify.long_paths import follow_long_paths

STEPS = ("event", "child", "witness", "need", "fault", "climb")


def sql(name: str) -> str:
    """The text of a packaged SQL file, by its path below `sql` without the suffix."""
    return files("flows.verify").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")


def run(tables: duckdb.DuckDBPyConnection, statements: str) -> None:
    """Run all statements of a text; their rows are dropped."""
    for statement in tables.extract_statements(statements):
        tables.execute(statement).fetchall()


def derive(tables: duckdb.DuckDBPyConnection, on_steps: Callable[[int, int], None]) -> None:
    """Make the tables of facts on which the rules run.

    Args:
        tables: a DuckDB connection with the loaded tables of sql/stored.sql.
        on_steps: gets how many steps are done, and how many there are.
    """
    for done, step in enumerate(STEPS, 1):
        run(tables, sql(f"facts/{step}"))
        if step == "witness":
            while tables.execute("SELECT count(*) FROM way").fetchall() != [(0,)]:
                run(tables, sql("facts/witness_step"))
            follow_long_paths(tables)
        on_steps(done, len(STEPS))
    # an event that can be delivered has an ancestor, or is one, that can be delivered at once:
    # where there is none, nothing is left to find
    ((at_once, waiting),) = tables.execute(
        "SELECT count(*) FILTER (is_reached), count(up) FROM climb"
    ).fetchall()
    for _ in range(int(waiting).bit_length() if at_once else 0):
        run(tables, sql("facts/climb_double"))
