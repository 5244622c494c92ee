"""What the tables of measures promise: names, units, labels, the page and the dashboard."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from reconciler.api.types import EndingKind, JobStatus, Operation, StepStatus
from reconciler.engine.steps import StepKind
from reconciler.metrics import Kind, Measure, of_engine, of_loop
from reconciler.metrics.prometheus import BUILD_INFO, Registry
from reconciler.model import CauseKind, RunEnd, State
from tests.fakes.scrape import Scrape
from tools import metrics_page

ROOT = Path(__file__).resolve().parents[3]
DASHBOARD = ROOT / "examples/grafana/reconciler.json"
RULES = ROOT / "examples/prometheus/rules.yaml"
EVERY = (*of_loop.MEASURES, *of_engine.MEASURES)
# What no spec, stack, person or program may choose the values of.
LABELS = {
    *("state", "reason", "cause", "outcome", "operation", "end", "method", "status"),
    *("scope", "step", "ending", "route", "kind"),
}


def label(measure: Measure, name: str) -> set[str]:
    return next(set(each.values) for each in measure.labels if each.name == name)


@pytest.mark.parametrize("measure", EVERY, ids=lambda m: m.name)
def test_a_name_says_what_and_in_which_unit(measure: Measure) -> None:
    """Names begin with whose they are, counters end in _total, and histograms in their unit."""
    engine = measure in of_engine.MEASURES
    assert measure.name.startswith("reconciler_engine_" if engine else "reconciler_")
    assert re.fullmatch(r"[a-z][a-z_]*", measure.name)
    assert measure.name.endswith("_total") is (measure.kind is Kind.COUNTER)
    if measure.kind is Kind.HISTOGRAM:
        assert measure.name.endswith(("_seconds", "_names"))
        assert list(measure.buckets) == sorted(set(measure.buckets))
    assert measure.about.endswith(".")


def test_each_table_is_whole_and_names_nothing_twice() -> None:
    """Every measure of a module is in its table, once."""
    for module in (of_loop, of_engine):
        made = {m.name for m in vars(module).values() if isinstance(m, Measure)}
        assert sorted(made) == sorted(m.name for m in module.MEASURES)
    assert len({m.name for m in EVERY}) == len(EVERY)


def test_no_label_grows_with_what_is_deployed() -> None:
    """Labels are from a short list, and none is a spec, a stack or an organization."""
    assert {each.name for m in EVERY for each in m.labels} <= LABELS
    assert all(each.values or each.about for m in EVERY for each in m.labels)


def test_the_labels_values_are_those_of_the_code() -> None:
    """Each closed set of values is the enumeration that it comes from."""
    operations = set(Operation)
    assert label(of_loop.SPECS, "state") == set(State)
    assert label(of_loop.CREATES, "cause") == set(CauseKind)
    assert label(of_loop.RUNS, "end") == set(RunEnd)
    assert label(of_loop.RUNS, "operation") == operations
    assert label(of_engine.ENDED, "operation") == operations
    assert label(of_engine.ENDED, "ending") == {"none", *EndingKind}
    assert label(of_engine.ENDED, "status") == {s for s in JobStatus if s.ended}
    assert label(of_engine.STEP, "step") == set(StepKind)
    ended = {StepStatus.SUCCEEDED, StepStatus.FAILED}
    assert label(of_engine.STEP, "status") == ended


def test_the_page_is_what_the_tables_say() -> None:
    """docs/metrics.md holds every measure; `python -m tools.metrics_page` writes it anew."""
    text = metrics_page.PAGE.read_text()
    assert metrics_page.whole(text) == text
    assert [m.name for m in EVERY if f"| `{m.name}` |" not in text] == []


# ---------------------------------------------------------------- expressions


def served() -> set[str]:
    """Return the names of all series that are served."""
    registry = Registry(EVERY, "1.0")
    found = {name for name, _ in Scrape(registry.text().decode()).samples}
    for measure in EVERY:
        suffixes = ("_bucket", "_sum", "_count") if measure.kind is Kind.HISTOGRAM else ("",)
        found |= {measure.name + suffix for suffix in suffixes}
    return found


def dashboard() -> Any:
    return json.loads(DASHBOARD.read_bytes())


def expressions() -> Iterator[str]:
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"].replace("$__rate_interval", "1m")
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for block in re.findall(r"```promql\n(.*?)```", metrics_page.PAGE.read_text(), re.DOTALL):
        yield from (line for line in block.splitlines() if not line.startswith("#"))


def names_in(expression: object) -> Iterator[str]:
    """Yield the names of the series that a parsed expression selects."""
    if isinstance(expression, promql_parser.VectorSelector):
        assert expression.name, expression
        yield expression.name
        known = {each.name: {each.name for each in m.labels} for m in EVERY for each in m.labels}
        for matcher in expression.matchers.matchers:
            assert matcher.name in {"job", "instance", *known}, matcher
    for part in ("expr", "lhs", "rhs", "vector_selector", "param"):
        inner = getattr(expression, part, None)
        if inner is not None:
            yield from names_in(inner)
    for inner in getattr(expression, "args", None) or ():
        yield from names_in(inner)


def test_every_expression_is_one_over_metrics_that_exist() -> None:
    """Each expression of the dashboard and of the alerts parses, and selects what is served."""
    there, found = served(), set()
    for text in expressions():
        names = set(names_in(promql_parser.parse(text)))
        assert names or text == "vector(0)", text
        assert names <= {*there, "up"}, text  # that one Prometheus makes itself
        found |= names
    used = {m.name for m in EVERY if any(name.startswith(m.name) for name in found)}
    assert len(used) > len(EVERY) / 2


def test_an_expression_with_a_mistake_is_found() -> None:
    """The parser refuses what Prometheus would."""
    with pytest.raises(ValueError, match="unclosed left parenthesis"):
        promql_parser.parse("sum by (state (reconciler_specs)")


def test_the_dashboard_has_what_grafana_needs_to_load_it() -> None:
    """Panels have ids of their own, places that do not overlap, and the data source asked for."""
    body = dashboard()
    assert body["title"]
    assert body["schemaVersion"] >= 39
    assert [v["name"] for v in body["templating"]["list"]] == ["datasource", "job", "instance"]
    ids = [panel["id"] for panel in body["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in body["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["targets"]
            assert panel["description"].endswith(".")
            assert all('instance=~"$instance"' in target["expr"] for target in panel["targets"])


def test_the_served_names_are_the_documented_ones() -> None:
    """What a scrape is told is in the tables, or one of the process's own standard metrics."""
    text = Registry(EVERY, "1.0").text().decode()
    families = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    others = {name for name in families if not name.startswith("process_")}
    assert others == {m.name for m in EVERY} | {BUILD_INFO}
