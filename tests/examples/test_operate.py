"""What an operator takes from `examples/operate` fits the program: unit, alerts and dashboard."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from flows.report.metrics import RunMetrics
from flows.report.profile import Profile
from tests.support.program import ROOT, ceramic_order, run

OPERATE = ROOT / "examples" / "operate"
UNIT = OPERATE / "ceramic-order.service"
ALERTS = OPERATE / "alerts.yml"
RULES = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((OPERATE / "dashboard.json").read_text())

OF_PROMETHEUS = {"instance", "job"}
"""Labels that every sample has once it is scraped."""

VARIABLES = {"$__rate_interval": "1m", "$instance": ".*", "$__all": ".*"}
"""What Grafana puts in place of its variables."""


def test_the_unit_of_systemd_runs_what_there_is(tmp_path: Path) -> None:
    program, *arguments = re.findall("^ExecStart=(.*)$", UNIT.read_text(), re.MULTILINE)[0].split()
    assert Path(program).name == "ceramic-order"
    (tmp_path / "ceramic-order").mkdir()
    (tmp_path / "ceramic-one").mkdir()
    run(ceramic_order("synth", tmp_path / "ceramic-one" / "db.sqlite3", "--streams", 3, "-q"))
    here = [argument.replace("/var/lib", str(tmp_path)) for argument in arguments]
    run(ceramic_order(*here))
    assert {path.name for path in (tmp_path / "ceramic-order").iterdir()} == {"left", "run.html"}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
@pytest.mark.parametrize("unit", sorted(OPERATE.glob("*.service")), ids=lambda unit: unit.name)
def test_systemd_takes_the_units(unit: Path, tmp_path: Path) -> None:
    program = ceramic_order()[0]
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/usr/local/bin/ceramic-order", program))
    ended = run(["systemd-analyze", "verify", "--man=no", copy])
    assert (ended.out, ended.err) == ("", "")


def exported(folder: Path) -> Mapping[str, Mapping[str, set[str]]]:
    """All metrics that a run serves: name to label to values."""
    profile = Profile()
    with profile.measure("read", 1):
        pass
    registry = CollectorRegistry()
    registry.register(RunMetrics(folder / "node.db", profile))
    found: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for name, value in sample.labels.items():
                labels.setdefault(name, set()).add(value)
    return found


def selectors(expression: str) -> Iterator[tuple[str, Mapping[str, str], set[str]]]:
    """The metrics of an expression: name, labels that must be equal, and all labels by name."""
    found: list[Any] = []
    grouped: set[str] = set()

    def visit(node: promql_parser.Expr) -> None:
        vector = getattr(node, "vector_selector", node)
        if isinstance(vector, promql_parser.VectorSelector):
            found.append(vector)
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            grouped.update(node.modifier.labels)

    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    promql_parser.walk(promql_parser.parse(expression), visit)
    for vector in found:
        matchers = vector.matchers.matchers
        equal = {m.name: m.value for m in matchers if m.op == promql_parser.MatchOp.Equal}
        yield vector.name, equal, grouped | {m.name for m in matchers}


def assert_served(expression: str, metrics: Mapping[str, Mapping[str, set[str]]]) -> None:
    """Check that a run serves each metric of an expression, with the labels that it names."""
    chosen = list(selectors(expression))
    assert chosen
    for name, equal, labels in chosen:
        if name == "up":
            continue
        assert name in metrics, expression
        assert labels <= OF_PROMETHEUS | metrics[name].keys(), expression
        assert all(equal[label] in metrics[name][label] for label in equal), expression


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_an_alert_asks_for_what_a_run_serves(rule: dict[str, Any], tmp_path: Path) -> None:
    assert_served(rule["expr"], exported(tmp_path))
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert set(rule["annotations"]) == {"summary", "action"}


@pytest.mark.parametrize(
    "expression",
    [
        "ceramic_order_nothing > 0",
        'ceramic_order_waiting_events{reason="x"}',
        "sum by (kind) (ceramic_order_lag_rows)",
    ],
)
def test_an_expression_of_what_is_not_served_is_found(expression: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        assert_served(expression, exported(tmp_path))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed here")
def test_prometheus_takes_the_alerts() -> None:
    assert f"{len(RULES)} rules found" in run(["promtool", "check", "rules", ALERTS]).out


def test_the_dashboard_shows_every_metric_of_a_run(tmp_path: Path) -> None:
    metrics = exported(tmp_path)
    shown = set()
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            assert_served(target["expr"], metrics)
            shown |= {name for name, _, _ in selectors(target["expr"])}
            asked = set(re.findall(r"{{(.*?)}}", target["legendFormat"]))
            assert all(asked <= metrics[name].keys() for name, *_ in selectors(target["expr"]))
    assert shown == set(metrics)


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
