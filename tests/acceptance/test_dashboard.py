"""A real Prometheus scrapes a daemon and its engine, and has an answer for each panel and alert."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.acceptance.conftest import ROOT, Place, eventually
from tests.engine.served import command, served

pytestmark = pytest.mark.real

RULES = ROOT / "examples/prometheus/rules.yaml"
DASHBOARD = json.loads((ROOT / "examples/grafana/reconciler.json").read_bytes())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
LIMIT_S = 30


class Prometheus:
    """A server, and its answers."""

    def __init__(self, folder: Path, targets: Sequence[str]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        self._url = f"http://{address}/api/v1"
        scraped = {"job_name": "reconciler", "static_configs": [{"targets": list(targets)}]}
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [scraped],
        }
        folder.mkdir()
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *("prometheus", f"--config.file={folder}/prometheus.yml"),
                    *(f"--storage.tsdb.path={folder}/data", f"--web.listen-address={address}"),
                ],
                stdout=log,
                stderr=log,
            )

    def get(self, path: str, **parameters: str) -> Any:
        with requests.get(f"{self._url}/{path}", params=parameters, timeout=LIMIT_S) as answer:
            body = answer.json()
        assert body["status"] == "success", (parameters, body)
        return body["data"]

    def ask(self, expression: str) -> Mapping[str, float]:
        """Return the value of each series at this moment, by its labels' values."""
        found = self.get("query", query=expression)["result"]
        return {" ".join(s["metric"].values()): float(s["value"][1]) for s in found}

    def over(self, expression: str) -> list[Any]:
        """Return what a panel draws: the series of the last two minutes."""
        now = float(self.get("query", query="time()")["result"][1])
        times = {"start": str(now - 120), "end": str(now), "step": "2"}
        found: list[Any] = self.get("query_range", query=expression, **times)["result"]
        return found

    def sees(self, expression: str, value: float) -> bool:
        """Whether an expression has that value; False as long as nobody answers."""
        try:
            return sum(self.ask(expression).values()) == value
        except requests.RequestException:  # it starts
            assert self.process.poll() is None
            return False


def filled(expression: str) -> str:
    """Put in what Grafana does."""
    filled_in = {"$__rate_interval": "1m", "$job": "reconciler", "$instance": ".+"}
    for name, value in filled_in.items():
        expression = expression.replace(name, value)
    return expression


def address(url: str) -> str:
    """Return what Prometheus calls a target."""
    return url.removeprefix("http://").removesuffix("/metrics")


@contextmanager
def daemon(place: Place, *arguments: str) -> Iterator[str]:
    """Run a daemon; where its metrics are."""
    said = place.root / "said"
    with said.open("w") as output:
        process = subprocess.Popen(
            place.command("run", "specs", *arguments, "--metrics", "127.0.0.1:0"),
            cwd=place.root,
            env=place.full_environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        eventually(lambda: "metrics are at " in said.read_text(), "the address of metrics")
        yield address(said.read_text().partition("metrics are at ")[2].split()[0])
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def prometheus(folder: Path, *targets: str) -> Iterator[Prometheus]:
    server = Prometheus(folder, targets)
    try:
        yield server
    finally:
        server.process.terminate()
        server.process.wait(60)


def test_every_panel_and_alert_has_an_answer(place: Place) -> None:
    """One spec succeeds and one fails for good: each expression is taken, and tells of it."""
    place.program()
    place.program("broken", fails="no such place")
    options = ("--allow-write", str(place.made), "--metrics", "127.0.0.1:0")
    path = {"PATH": place.full_environment()["PATH"]}
    with served(place.root / "engine", *options, environment=path) as engine:
        token = command("token", "create", "--organization", "acme", data=engine.data)
        place.environment["PULUMI_ACCESS_TOKEN"] = token.strip()
        theirs = address(engine.metrics)
        where = ("--data", str(place.data), "--api-url", engine.url)
        with daemon(place, *where) as ours, prometheus(place.root / "tsdb", ours, theirs) as server:
            eventually(lambda: server.sees("sum(up)", 2), "both are scraped")
            place.spec("one")
            place.spec("two", "reconcile: {retry: {limit: 0}}\n", "broken")
            states = 'reconciler_specs{state="%s"}'
            eventually(lambda: server.sees(states % "Ready", 1), "one is Ready")
            eventually(lambda: server.sees(states % "Stalled", 1), "the other is Stalled")
            ended = "reconciler_engine_deployments_ended_total"
            eventually(lambda: server.sees(f"sum({ended})", 2), "the engine tells of both")
            asked(server)
            eventually(lambda: alerts(server) == {"ReconcilerSpecsNeedAPerson": "pending"}, "it")


def asked(server: Prometheus) -> None:
    """Ask what the panels do, and hold some of the answers to what has happened."""
    values: dict[str, Mapping[str, float]] = {}
    assert len(PANELS) > 30
    for panel in PANELS:
        for target in panel["targets"]:
            values[panel["title"]] = server.ask(filled(target["expr"]))
            assert values[panel["title"]], (panel["title"], target["expr"])
            if panel["type"] == "timeseries":
                assert server.over(filled(target["expr"])), (panel["title"], target["expr"])
    assert values["Specs"] == {"": 2}
    assert values["Ready"] == {"": 0.5}
    assert values["Need a person"] == {"": 1}
    assert values["API left alone"] == {"": 0}
    assert values["Specs by state"]["Ready"] == values["Specs by state"]["Stalled"] == 1
    assert values["Runs that ended, an hour"]["succeeded"] > 0
    assert values["Runs that ended, an hour"]["failed"] > 0
    assert values["Deployments that ended, an hour"]["failed"] > 0
    assert values["Creates an hour, by cause"]["new"] > 0
    assert values["Repositories"]["answered"] == 1
    assert 0 < values["How long deployments take"]["update"] < LIMIT_S * 10
    assert len(values["Memory"]) == 2


def alerts(server: Prometheus) -> Mapping[str, str]:
    """Return the alerts that are on; each rule was evaluated, without a fault."""
    rules = [rule for group in server.get("rules")["groups"] for rule in group["rules"]]
    assert len(rules) > 10
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
    assert [rule for rule in rules if rule.get("lastError")] == []
    if any(rule["health"] == "unknown" for rule in rules):  # not looked at yet
        return {}
    return {rule["name"]: rule["state"] for rule in rules if rule["state"] != "inactive"}


def test_the_rules_are_ones_that_prometheus_takes() -> None:
    """Prometheus has nothing to say of the rules, and each says where to look."""
    done = subprocess.run(
        ["promtool", "check", "rules", RULES], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]
            assert rule["labels"]["severity"] in {"critical", "warning"}
