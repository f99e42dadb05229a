"""deploy/compose, without Docker: what it says is valid and what it speaks of is there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mull.server.settings import Settings, load
from mull.verifiers.config import parse

VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


@pytest.fixture(scope="module")
def variables(deploy: Path) -> dict[str, str]:
    lines = (deploy / "compose" / ".env").read_text().splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value.strip("'") for name, _, value in pairs}


@pytest.fixture(scope="module")
def project(deploy: Path, variables: dict[str, str]) -> dict[str, Any]:
    """The file as compose understands it: variables replaced, in each text by itself."""

    def fill(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: fill(each) for key, each in value.items()}
        if isinstance(value, list):
            return [fill(each) for each in value]
        return VARIABLE.sub(given, value) if isinstance(value, str) else value

    def given(match: re.Match[str]) -> str:
        default = match[2]
        assert match[1] in variables or default is not None, f"{match[1]} is set nowhere"
        return variables.get(match[1], default or "")

    filled: dict[str, Any] = fill(yaml.safe_load((deploy / "compose" / "compose.yaml").read_text()))
    return filled


def test_the_specification(project: dict[str, Any]) -> None:
    spec: Any = pytest.importorskip("compose_spec", reason="reads compose files: pip install compose-spec")
    read = spec.PyCompose.from_yaml(yaml.safe_dump(project))
    assert set(read.service_names()) == set(project["services"])
    project["services"]["server"]["nonsense"] = 1
    with pytest.raises(ValueError, match="nonsense"):
        spec.PyCompose.from_yaml(yaml.safe_dump(project))
    del project["services"]["server"]["nonsense"]


def test_the_stack(project: dict[str, Any], variables: dict[str, str]) -> None:
    services = project["services"]
    started = {
        name
        for name, service in services.items()
        if variables["COMPOSE_PROFILES"] in service.get("profiles", [variables["COMPOSE_PROFILES"]])
    }
    assert started == {"server", "policy", "verifier-1", "verifier-2", "prometheus", "grafana"}
    alone = services["mull"]
    assert alone["profiles"] == ["cpu"]
    assert "depends_on" not in alone
    assert "deploy" not in alone, "the CPU profile asks for a GPU"


def test_what_is_mounted_exists(deploy: Path, project: dict[str, Any]) -> None:
    for name, service in project["services"].items():
        for volume in service.get("volumes", []):
            source, target, *mode = volume.split(":")
            if source.startswith("."):
                assert (deploy / "compose" / source).exists(), f"{name}: {source}"
                assert mode == ["ro"], f"{name}: {source} can be written"
            else:
                assert source in project["volumes"]
            assert target.startswith("/")


def test_the_policy_can_be_scaled(project: dict[str, Any]) -> None:
    """With `--scale policy=2` what belongs to one container only would clash."""
    assert not {"container_name", "hostname", "ports"} & set(project["services"]["policy"])


def test_requests_may_finish(project: dict[str, Any]) -> None:
    policy = project["services"]["policy"]
    (drain,) = [each for each in policy["command"] if each.startswith("--shutdown-timeout=")]
    assert int(policy["stop_grace_period"].removesuffix("s")) >= int(drain.partition("=")[2]) + 10
    server = project["services"]["server"]
    drain = Settings.model_fields["drain"].default
    assert int(server["stop_grace_period"].removesuffix("s")) >= drain + 15


def test_builds_name_targets(deploy: Path, project: dict[str, Any]) -> None:
    text = (deploy / "docker" / "Dockerfile").read_text()
    targets = set(re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE))
    for service in project["services"].values():
        if build := service.get("build"):
            assert build["target"] in targets
            assert (deploy / "compose" / build["context"] / build["dockerfile"]).is_file()


def test_services_are_confined(project: dict[str, Any]) -> None:
    for name, service in project["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("read_only") or name == "policy", name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} can be reached from elsewhere"


def test_the_configuration_loads(
    deploy: Path, project: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in project["services"]["server"]["environment"].items():
        if name.startswith("MULL_") and name != "MULL_CONFIG":
            monkeypatch.setenv(name, value)
    settings = load(deploy / "compose" / "mull.toml")
    assert settings.api_keys == []
    urls = [model.url or "" for model in settings.models.values()]
    urls += [url for verifier in settings.verifiers.values() for url in getattr(verifier, "urls", [])]
    assert len(urls) == 3
    for url in urls:
        host, _, port = url.split("/")[2].partition(":")
        assert host in project["services"], url
        assert port == ("8001" if host.startswith("verifier") else "8000")
    assert settings.models["policy"].discover, "replicas of the policy are not told apart"
    served = f"--served-model-name={settings.models['policy'].served_as or 'policy'}"
    assert served in project["services"]["policy"]["command"]


def test_verifiers_have_a_valid_configuration(project: dict[str, Any]) -> None:
    command = project["services"]["verifier-1"]["command"]
    given = dict(zip(command[::2], command[1::2], strict=True))
    parse(json.loads(given["--settings"]) | {"kind": given["--kind"], "model": given["--model"]})


def test_prometheus_scrapes_services(deploy: Path, project: dict[str, Any]) -> None:
    config = yaml.safe_load((deploy / "prometheus" / "prometheus.yml").read_text())
    known = set(project["services"])
    for service in project["services"].values():
        known |= set(service.get("networks", {}).get("default", {}).get("aliases", []))
    found = {name for job in config["scrape_configs"] for sd in job["dns_sd_configs"] for name in sd["names"]}
    assert found == {"mull.internal", "verifier-1", "verifier-2", "policy"}
    assert found <= known


def test_grafana_finds_its_files(deploy: Path, project: dict[str, Any]) -> None:
    grafana = project["services"]["grafana"]
    mounts = dict(volume.split(":")[:2][::-1] for volume in grafana["volumes"])
    provider = yaml.safe_load((deploy / "grafana/provisioning/dashboards/mull.yml").read_text())
    folder = deploy / "compose" / mounts[provider["providers"][0]["options"]["path"]]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (folder / Path(home).name).is_file()
    source = yaml.safe_load((deploy / "grafana/provisioning/datasources/prometheus.yml").read_text())
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
