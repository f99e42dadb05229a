"""What the dashboard and the alert rules ask, asked of a real Prometheus that reads a real server."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from tests.integration.conftest import Server

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
NAME = re.compile(r"\b(?:mull_|vllm:)[a-z0-9_:]+")
SETTINGS = {"$model": ".*", "$strategy": ".*", "$__rate_interval": "1m"}

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="apt-get install prometheus")


@pytest.fixture
def prometheus(server: Server, tmp_path: Path) -> Iterator[httpx.Client]:
    """Prometheus with the project's rules, reading the server and its worker every second."""
    jobs = {"mull": server.url, "mull-verifier": server.worker.url}
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(DEPLOY / "prometheus" / "alerts.yml")],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [url.removeprefix("http://")]}]}
            for job, url in jobs.items()
        ],
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [
        "prometheus",
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address={address}",
    ]
    with (
        (tmp_path / "prometheus.log").open("w") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
    ):
        with httpx.Client(base_url=f"http://{address}/api/v1", timeout=30) as client:
            yield client
        process.terminate()


def queries() -> list[str]:
    dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "mull.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]


def sampled(text: str) -> set[str]:
    """The names of the series that are there."""
    return {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}


def test_everything_resolves(
    server: Server, prometheus: httpx.Client, ask: Any, until: Callable[..., None]
) -> None:
    def told(path: str, **parameters: str) -> Any:
        answer = prometheus.get(path, params=parameters).json()
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]

    def up() -> bool:
        try:
            # Until it has read its files, it answers with a page.
            if not prometheus.get("/query", params={"query": "up"}).is_success:
                return False
            return [each["value"][1] for each in told("/query", query="up")["result"]] == ["1", "1"]
        except httpx.TransportError:
            return False

    def chat(**fields: Any) -> httpx.Response:
        return server.http.post(
            "/v1/chat/completions", json={"model": "mull-tiny", "messages": ask, "seed": 1} | fields
        )

    until(up)
    # Series that are new with these requests grow with the second round only.
    for _ in range(2):
        scrapes = told(
            "/query",
            query="sum(scrape_samples_scraped)",
        )["result"]
        assert scrapes
        assert chat(ttc={"strategy": "best_of_n", "n": 4, "verifier": "worker"}).is_success
        assert chat(ttc={"strategy": "beam_search", "width": 2, "expand": 2}).is_success
        assert chat(ttc={"strategy": "majority_vote", "n": 4, "budget": {"samples": 2}}).is_success
        assert chat(stream=True).is_success
        assert chat(temperature=-1).status_code == 400
        count = server.http.get("/metrics").text
        total = sum(
            sample.value
            for family in text_string_to_metric_families(count)
            for sample in family.samples
            if sample.name == "mull_requests_total"
        )
        until(
            lambda total=total: (
                [each["value"][1] for each in told("/query", query="sum(mull_requests_total)")["result"]]
                == [f"{total:g}"]
            )
        )

    there = sampled(server.http.get("/metrics").text) | sampled(
        httpx.get(f"{server.worker.url}/metrics").text
    )
    empty = []
    for query in queries():
        asked = query
        for name, value in SETTINGS.items():
            asked = asked.replace(name, value)
        result = told("/query", query=asked)["result"]
        if set(NAME.findall(query)) <= there and not result:
            empty.append(asked)
    assert not empty
    # What nothing has happened for is little.
    nothing = {name for query in queries() for name in NAME.findall(query)} - there
    assert nothing <= {
        "mull_refused_total",
        "mull_store_up",
        "mull_fallbacks_total",
        "mull_verifier_reloads_total",
        "mull_verifier_errors_total",
    }

    def evaluated() -> bool:
        groups = told("/rules")["groups"]
        return all(rule["health"] != "unknown" for group in groups for rule in group["rules"])

    until(evaluated)
    rules = [rule for group in told("/rules")["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}, rules
    assert [rule["name"] for rule in rules if rule["state"] != "inactive"] == []
