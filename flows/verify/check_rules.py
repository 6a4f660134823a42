"""Run every rule, and keep what it finds in the table `violation`."""

from collections.abc import Mapping

import duckdb

from flows.verify.cids import cid_text
from flows.verify.derive import sql
from flows.verify.load import Progress
from flows.verify.rules import RULES, Rule
from flows.verify.verification import Finding, Violation

FIRST = 5
"""How many violations of a rule are shown at most."""

_VIOLATION = (
    "rule VARCHAR, cid BLOB, number BIGINT, related BLOB, detail VARCHAR, in_baseline BOOLEAN"
)


def check_rules(
    tables: duckdb.DuckDBPyConnection, given: Mapping[str, bool], on_rules: Progress
) -> tuple[Finding, ...]:
    """Run the rules on the tables of facts.

    Args:
        tables: a DuckDB connection.
        given: which of the optional inputs there are, by the name in `Rule.needs`.
        on_rules: gets how many rules have been run, and how many there are.

    Returns:
        One finding for each of `RULES`, in their order.
    """
    tables.execute(f"CREATE TABLE violation ({_VIOLATION})").fetchall()
    findings = []
    for done, rule in enumerate(RULES, 1):
        if rule.needs is not None and not given[rule.needs]:
            findings.append(Finding(rule, 0, 0, (), is_skipped=True))
        else:
            findings.append(_run(tables, rule))
        on_rules(done, len(RULES))
    return tuple(findings)


def _run(tables: duckdb.DuckDBPyConnection, rule: Rule) -> Finding:
    text = sql(f"rules/{rule.name}").rstrip().removesuffix(";")
    tables.execute(
        f"INSERT INTO violation SELECT $rule, * FROM (\n{text}\n)", {"rule": rule.name}
    ).fetchall()  # the text of a file of ours
    counts = """
        SELECT count(*) FILTER (NOT in_baseline), count(*) FILTER (in_baseline)
        FROM violation WHERE rule = $rule
    """
    ((new, old),) = tables.execute(counts, {"rule": rule.name}).fetchall()
    first = tables.execute(
        "SELECT cid, number, related, detail, in_baseline FROM violation WHERE rule = $rule"
        " ORDER BY in_baseline, number NULLS LAST, cid, detail LIMIT $first",
        {"rule": rule.name, "first": FIRST},
    ).fetchall()
    return Finding(rule, new, old, tuple(_violation(*row) for row in first))


def _violation(
    cid: bytes | None, number: int | None, related: bytes | None, detail: str, in_baseline: bool
) -> Violation:
    return Violation(_text(cid), number, _text(related), detail, in_baseline)


def _text(cid: bytes | None) -> str | None:
    return None if cid is None else cid_text(cid)
