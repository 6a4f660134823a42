"""The rules are SQL that stands alone, and nothing of the flow helps to judge the flow."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from flows.verifier import facts
from flows.verifier.blocks import READINGS
from flows.verifier.rules import RULES, Rule

FLOWS = Path(facts.__file__).parents[1]
SQL = FLOWS / "verifier" / "sql"


def test_each_rule_has_its_file_and_each_file_its_rule() -> None:
    assert {path.stem for path in (SQL / "rules").iterdir()} == {rule.name for rule in RULES}
    assert {path.stem for path in (SQL / "facts").iterdir()} == {*facts.STEPS, "climb_double", "witness_step"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_is_one_select_that_says_what_it_asks(rule: Rule) -> None:
    text = facts.sql(f"rules/{rule.name}")
    assert text.startswith("-- ")
    with duckdb.connect() as tables:
        facts.run(tables, facts.sql("macros"))
        facts.run(tables, facts.sql("stored"))
        for name, schema in READINGS.items():
            tables.register("empty", schema.empty_table())
            tables.execute(f"CREATE TABLE {name} AS SELECT * FROM empty").fetchall()  # noqa: S608 # a table of ours
        facts.conclude(tables, lambda _done, _total: None)
        (statement,) = tables.extract_statements(text)
        tables.execute(statement).fetchall()
        columns = [column[0] for column in tables.execute(f"DESCRIBE {text}").fetchall()]
    assert columns == ["cid", "number", "related", "detail", "in_baseline"]


def imported(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    modules = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return modules | {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}


def test_the_verifier_imports_no_step_of_the_flow() -> None:
    allowed = {"connectors.database", "connectors.errors", "connectors.scratch", "connectors.snapshot"}
    for path in (FLOWS / "verify.py", *(FLOWS / "verifier").glob("*.py")):
        names = {name for name in imported(path) if name.partition(".")[0] in {"connectors", "flows", "operators", "libipld", "bytewax"}}
        assert {name for name in names if not name.startswith("flows.verifier.")} <= allowed, path.name


def test_the_verifier_loads_no_decoder_of_the_flow() -> None:
    program = "import sys, flows.verify; sys.exit(bool({'libipld', 'operators', 'bytewax', 'sqlite3'} & sys.modules.keys()))"
    # a measurement of coverage would load sqlite3 there
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    assert subprocess.run([sys.executable, "-c", program], check=False, env=environment).returncode == 0
