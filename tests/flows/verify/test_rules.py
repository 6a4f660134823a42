"""The rules are SQL that stands alone, and nothing of the flow helps to check the flow."""

import os
from pathlib import Path

import duckdb
import pytest

from flows.verify import derive
from flows.verify.readings import READINGS
from flows.verify.rules import RULES, Rule
from tests.support.program import python, run

FLOWS = Path(derive.__file__).parents[1]
SQL = FLOWS / "verify" / "sql"


def test_each_rule_has_its_file_and_each_file_its_rule() -> None:
    assert {path.stem for path in (SQL / "rules").iterdir()} == {rule.name for rule in RULES}
    assert {path.stem for path in (SQL / "facts").iterdir()} == {
        *derive.STEPS,
        "climb_double",
        "witness_step",
    }


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_is_one_select_that_says_what_it_asks(rule: Rule) -> None:
    text = derive.sql(f"rules/{rule.name}")
    assert text.startswith("-- ")
    with duckdb.connect() as tables:
        derive.run(tables, derive.sql("macros"))
        derive.run(tables, derive.sql("stored"))
        for name, schema in READINGS.items():
            tables.register("empty", schema.empty_table())
            tables.execute(
                f"CREATE TABLE {name} AS SELECT * FROM empty"
            ).fetchall()  # a table of ours
        derive.derive(tables, lambda _done, _total: None)
        (statement,) = tables.extract_statements(text)
        tables.execute(statement).fetchall()
        columns = [column[0] for column in tables.execute(f"DESCRIBE {text}").fetchall()]
    assert columns == ["cid", "number", "related", "detail", "in_baseline"]


def test_the_verifier_loads_no_decoder_of_the_flow() -> None:
    others = "{'libipld', 'operators', 'bytewax', 'sqlite3'}"
    program = f"import sys, flows.verify.verify; sys.exit(bool({others} & sys.modules.keys()))"
    # a measurement of coverage would load sqlite3 there
    unset = dict.fromkeys(name for name in os.environ if name.startswith("COVERAGE"))
    assert run(python("-c", program), environment=unset).code == 0
