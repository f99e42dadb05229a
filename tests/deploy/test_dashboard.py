"""The dashboard and the alert rules; a real Prometheus is asked in tests/integration/test_dashboard.py."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from mull.server.app import create_app
from mull.server.settings import load
from mull.testing import ScriptedGenerator, ScriptedVerifier
from mull.verifiers.worker import create_app as create_worker

NAME = re.compile(r"\b(?:mull_|vllm:)[a-z0-9_:]+")
promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="apt-get install prometheus")


@pytest.fixture(scope="module")
def dashboard(deploy: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((deploy / "grafana" / "dashboards" / "mull.json").read_text())
    return found


@pytest.fixture(scope="module")
def queries(deploy: Path, dashboard: dict[str, Any]) -> list[str]:
    """All that panels, variables and alert rules ask."""
    rules = yaml.safe_load((deploy / "prometheus" / "alerts.yml").read_text())
    return [
        *(target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])),
        *(each["query"]["query"] for each in dashboard["templating"]["list"] if each["type"] == "query"),
        *(rule["expr"] for group in rules["groups"] for rule in group["rules"]),
    ]


def exposed(text: str) -> set[str]:
    """The names of all series that these metrics have, or will have once something happens."""
    endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    return {
        family.name + ending
        for family in text_string_to_metric_families(text)
        for ending in endings.get(family.type, ("",))
    }


def test_the_dashboard_is_what_its_script_writes(deploy: Path, dashboard: dict[str, Any]) -> None:
    script = runpy.run_path(str(deploy / "grafana" / "dashboard.py"))
    assert script["dashboard"]() == dashboard, "run deploy/grafana/dashboard.py"


def test_panels_do_not_overlap(dashboard: dict[str, Any]) -> None:
    places: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & places, panel["title"]
        places |= cells
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(numbers) == len(set(numbers))


def test_all_names_are_exposed(queries: list[str]) -> None:
    model = ScriptedGenerator(lambda text, rng, sampling: "\\boxed{2}")
    judge = ScriptedVerifier(lambda text, ended: 0.5, name="orm", kind="outcome")
    settings = load(
        None,
        verifiers={"orm": {"kind": "orm", "model": "unused"}},
        defaults={"verifiers": {"outcome": "orm"}},
    )
    body = {
        "model": "mull-tiny",
        "messages": [{"role": "user", "content": "1 + 1?"}],
        "ttc": {"strategy": "best_of_n", "n": 2},
    }
    app = create_app(settings, generators={"mull-tiny": model}, verifiers={"orm": judge})
    with TestClient(app) as server, TestClient(create_worker(judge)) as worker:
        assert server.post("/v1/chat/completions", json=body).status_code == 200
        names = exposed(server.get("/metrics").text) | exposed(worker.get("/metrics").text)
    wanted = {name for query in queries for name in NAME.findall(query) if name.startswith("mull_")}
    assert wanted
    assert wanted <= names, wanted - names


def test_everything_counted_is_shown(queries: list[str]) -> None:
    """A metric that no panel shows is forgotten, or not worth counting."""
    settings = load(None)
    with TestClient(create_app(settings, generators={}, verifiers={})) as server:
        text = server.get("/metrics").text
    families = {name for name in re.findall(r"^# TYPE (\S+)", text, re.MULTILINE) if name.startswith("mull_")}
    shown = {name for query in queries for name in NAME.findall(query)}
    forgotten = {
        family
        for family in families
        if not family.endswith("_created") and not any(name.startswith(family) for name in shown)
    }
    assert not forgotten, "give it a panel in deploy/grafana/dashboard.py"


@promtool
@pytest.mark.parametrize(
    "check",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts.test.yml"),
    ],
)
def test_promtool(deploy: Path, check: tuple[str, ...]) -> None:
    done = subprocess.run(
        ["promtool", *check], cwd=deploy / "prometheus", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested(deploy: Path) -> None:
    rules = yaml.safe_load((deploy / "prometheus" / "alerts.yml").read_text())
    tests = yaml.safe_load((deploy / "prometheus" / "alerts.test.yml").read_text())
    fired = {
        case["alertname"]
        for test in tests["tests"]
        for case in test["alert_rule_test"]
        if case.get("exp_alerts")
    }
    assert fired == {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
