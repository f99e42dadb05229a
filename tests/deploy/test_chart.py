"""The Helm chart, rendered by Helm's own code with each set of values."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mull.server.metrics import Metrics
from mull.server.settings import load
from mull.verifiers import worker
from mull.verifiers.config import parse

helm: Any = pytest.importorskip("helm_python", reason="renders the chart: pip install helm-python-sdk")
schemas: Any = pytest.importorskip("kubernetes_validate", reason="has Kubernetes' schemas")

OVERLAYS = (
    *("standard", "one-node", "one-gpu", "gpu-fleet"),
    *("vllm-production-stack", "llm-d", "ray-serve-llm"),
)
OPERATOR = "monitoring.coreos.com/v1"
"""Its kinds are not Kubernetes' own and have no schema here."""
KUBERNETES = ("1.30", "1.37")

Object = dict[str, Any]
Render = Callable[[dict[str, Any]], list[Object]]


@pytest.fixture(scope="module")
def render(deploy: Path) -> Iterator[Render]:
    with helm.Chart.load(deploy / "helm" / "mull") as chart:

        def objects(values: dict[str, Any]) -> list[Object]:
            rendered = chart.render(values, name="try", namespace="here")
            texts = [text for name, text in rendered.items() if name.endswith(".yaml")]
            return [thing for text in texts for thing in yaml.safe_load_all(text) if thing]

        yield objects


@pytest.fixture(scope="module", params=OVERLAYS)
def objects(request: pytest.FixtureRequest, render: Render, overlays: dict[str, Any]) -> list[Object]:
    return render(overlays[request.param])


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [thing for thing in objects if thing["kind"] == kind]


def containers(objects: list[Object]) -> list[Object]:
    pods = [thing["spec"]["template"]["spec"] for thing in of_kind(objects, "Deployment")]
    return [container for pod in pods for container in pod["containers"]]


def valid(objects: list[Object], *versions: str) -> None:
    """By Kubernetes' own schemas."""
    for thing in objects:
        for version in versions or KUBERNETES:
            if thing["apiVersion"] != OPERATOR:
                schemas.validate(thing, version, strict=True)


def test_all_overlays_are_tested(overlays: dict[str, Any]) -> None:
    assert set(overlays) == set(OVERLAYS)


def test_lint(deploy: Path, overlays: dict[str, Any]) -> None:
    for values in overlays.values():
        found = helm.lint(deploy / "helm" / "mull", values)
        assert found["errors"] == []
        assert [each for each in found["messages"] if each["severity"] > 1] == []


@pytest.mark.parametrize("version", KUBERNETES)
def test_objects_are_valid(objects: list[Object], version: str) -> None:
    assert of_kind(objects, "Deployment")
    valid(objects, version)


def test_the_schemas_refuse_what_is_wrong(render: Render) -> None:
    (broken,) = of_kind(render({}), "Deployment")
    broken["spec"]["template"]["spec"]["containers"][0]["nonsense"] = 1
    with pytest.raises(schemas.utils.ValidationError):
        schemas.validate(broken, KUBERNETES[-1], strict=True)


def test_names_are_unique(objects: list[Object]) -> None:
    names = [(thing["kind"], thing["metadata"]["name"]) for thing in objects]
    assert len(names) == len(set(names))


def test_services_and_policies_choose_pods(objects: list[Object]) -> None:
    pods = [thing["spec"]["template"]["metadata"]["labels"] for thing in of_kind(objects, "Deployment")]
    chosen = [thing["spec"]["selector"] for thing in of_kind(objects, "Service")]
    chosen += [thing["spec"]["selector"]["matchLabels"] for thing in of_kind(objects, "PodDisruptionBudget")]
    chosen += [thing["spec"]["podSelector"]["matchLabels"] for thing in of_kind(objects, "NetworkPolicy")]
    for labels in chosen:
        assert any(labels.items() <= pod.items() for pod in pods), labels


def test_pods_may_do_nothing(objects: list[Object]) -> None:
    for thing in of_kind(objects, "Deployment"):
        pod = thing["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(objects):
        allowed = container["securityContext"]
        assert allowed["readOnlyRootFilesystem"] is True
        assert allowed["allowPrivilegeEscalation"] is False
        assert allowed["capabilities"] == {"drop": ["ALL"]}
        assert {"/tmp", "/data"} <= {mount["mountPath"] for mount in container["volumeMounts"]}


def test_pods_are_probed(objects: list[Object]) -> None:
    for container in containers(objects):
        paths = {
            probe: container[f"{probe}Probe"]["httpGet"]["path"]
            for probe in ("startup", "liveness", "readiness")
        }
        ready = "/ready" if container["name"] == "server" else "/health"
        assert paths == {"startup": "/health", "liveness": "/health", "readiness": ready}


def server_of(objects: list[Object]) -> Object:
    (server,) = [each for each in containers(objects) if each["name"] == "server"]
    return server


def variables(container: Object) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


def test_requests_may_finish(objects: list[Object]) -> None:
    for thing in of_kind(objects, "Deployment"):
        pod = thing["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        sleep, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
        assert sleep == "sleep"
        if container["name"] == "server":
            # docs/operations.md: what a server needs beside `drain`.
            rest = int(variables(container)["MULL_DRAIN"]) + 15
        elif container["name"] == "engine":
            (drain,) = [each for each in container["args"] if each.startswith("--shutdown-timeout=")]
            rest = int(drain.partition("=")[2]) + 10
        else:
            rest = worker.GRACE + 10
        assert pod["terminationGracePeriodSeconds"] >= int(seconds) + rest, container["name"]


def test_loading_a_model_is_progress(objects: list[Object]) -> None:
    for thing in of_kind(objects, "Deployment"):
        (container,) = thing["spec"]["template"]["spec"]["containers"]
        probe = container["startupProbe"]
        assert thing["spec"]["progressDeadlineSeconds"] > probe["periodSeconds"] * probe["failureThreshold"]


def test_replicas_of_workers_are_told_apart(objects: list[Object]) -> None:
    """By the addresses of their name: those of pods that are ready."""
    workers = [
        thing
        for thing in of_kind(objects, "Service")
        if thing["metadata"]["labels"]["app.kubernetes.io/component"] != "server"
    ]
    for thing in workers:
        assert thing["spec"]["clusterIP"] == "None"
        assert not thing["spec"].get("publishNotReadyAddresses")


def test_the_configuration_loads(objects: list[Object], tmp_path: Path) -> None:
    texts = [
        thing["data"]["mull.toml"] for thing in of_kind(objects, "ConfigMap") if "mull.toml" in thing["data"]
    ]
    assert len(texts) <= 1
    services = {thing["metadata"]["name"] for thing in of_kind(objects, "Service")}
    for text in texts:
        (tmp_path / "mull.toml").write_text(text)
        settings = load(tmp_path / "mull.toml")
        urls = [model.url for model in settings.models.values() if model.url]
        for model in settings.models.values():
            assert model.discover == ("." not in (model.url or ".")), (
                "only addresses of ours are those of pods"
            )
        urls += [url for verifier in settings.verifiers.values() for url in getattr(verifier, "urls", [])]
        for url in urls:
            host = url.split("/")[2].partition(":")[0]
            # What is in the same namespace is part of the chart.
            assert "." in host or host in services, url


def test_verifiers_have_a_valid_configuration(objects: list[Object]) -> None:
    for container in containers(objects):
        if container["name"] == "verifier":
            given = dict(zip(container["args"][::2], container["args"][1::2], strict=True))
            parse(json.loads(given["--settings"]) | {"kind": given["--kind"], "model": given["--model"]})


TLS = {"secret": "mull-tls"}


def test_tls(render: Render) -> None:
    objects = render({"server": {"tls": TLS}, "monitoring": {"serviceMonitor": {"enabled": True}}})
    server = server_of(objects)
    for probe in ("startup", "liveness", "readiness"):
        assert server[f"{probe}Probe"]["httpGet"]["scheme"] == "HTTPS"
    mounted = {each["name"]: each["mountPath"] for each in server["volumeMounts"]}
    given = variables(server)
    assert given["MULL_TLS__CERTIFICATE"] == f"{mounted['tls']}/tls.crt"
    assert given["MULL_TLS__KEY"] == f"{mounted['tls']}/tls.key"
    assert "MULL_TLS__CLIENT_CA" not in given
    (monitor,) = [
        each for each in of_kind(objects, "ServiceMonitor") if each["metadata"]["name"] == "try-mull-server"
    ]
    assert monitor["spec"]["endpoints"][0]["scheme"] == "https"
    valid(objects)


@pytest.mark.parametrize(("secret", "volume"), [("", "tls"), ("probe-tls", "probe")])
def test_clients_with_certificates(
    render: Render, secret: str, volume: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kubelet has none, so the image asks itself, with one that it is given."""
    objects = render({"server": {"tls": TLS | {"clientCA": True, "probe": secret}}})
    server = server_of(objects)
    (port,) = server["ports"]
    commands = [server[f"{probe}Probe"]["exec"]["command"] for probe in ("startup", "liveness", "readiness")]
    assert [path for _, _, path in commands] == ["/health", "/health", "/ready"]
    assert {tuple(rest) for *rest, _ in commands} == {("/opt/mull/health", str(port["containerPort"]))}
    mounted = {each["name"]: each["mountPath"] for each in server["volumeMounts"]}
    given = variables(server)
    assert given["MULL_TLS__CLIENT_CA"] == f"{mounted['tls']}/ca.crt"
    assert given["MULL_PROBE_CERTIFICATE"] == f"{mounted[volume]}/tls.crt"
    assert given["MULL_PROBE_KEY"] == f"{mounted[volume]}/tls.key"
    valid(objects)
    for name in ("tls.crt", "tls.key", "ca.crt"):
        (tmp_path / name).touch()
    for name, value in given.items():
        if name.startswith("MULL_TLS__"):
            monkeypatch.setenv(name, str(value).replace(mounted["tls"], str(tmp_path)))
    tls = load(None).tls
    assert tls is not None
    assert tls.client_ca == tmp_path / "ca.crt"


def test_keys_as_digests(render: Render) -> None:
    objects = render({"keysFile": {"secret": "mull-keys", "key": "all.jsonl"}})
    server = server_of(objects)
    mounts = {each["name"]: each for each in server["volumeMounts"]}
    assert variables(server)["MULL_KEYS_FILE"] == f"{mounts['keys']['mountPath']}/all.jsonl"
    # Kubernetes keeps a folder up to date, and not a single file that is mounted out of it.
    assert "subPath" not in mounts["keys"]
    valid(objects)


def test_a_store_that_all_servers_share(render: Render) -> None:
    peer = {"podSelector": {"matchLabels": {"app": "postgres"}}}
    objects = render({"store": {"secret": "database", "key": "url", "peers": [peer]}})
    assert variables(server_of(objects))["MULL_STORE__URL"] == {
        "secretKeyRef": {"name": "database", "key": "url"}
    }
    (policy,) = of_kind(objects, "NetworkPolicy")
    assert {"ports": [{"port": 5432, "protocol": "TCP"}], "to": [peer]} in policy["spec"]["egress"]
    valid(objects)
    (closed,) = of_kind(render({}), "NetworkPolicy")
    assert 5432 not in [port["port"] for rule in closed["spec"]["egress"] for port in rule["ports"]]


def test_workers_that_scale(render: Render) -> None:
    scale = {"autoscaling": {"enabled": True, "max": 9}}
    objects = render(
        {
            "engines": {"policy": {"model": "m"} | scale},
            "verifiers": {"reward": {"kind": "orm", "model": "m"} | scale},
        }
    )
    valid(objects)
    scalers = {
        thing["spec"]["scaleTargetRef"]["name"]: thing
        for thing in of_kind(objects, "HorizontalPodAutoscaler")
    }
    deployments = {thing["metadata"]["name"]: thing for thing in of_kind(objects, "Deployment")}
    assert set(scalers) == set(deployments) - {"try-mull"}
    for name, scaler in scalers.items():
        assert "replicas" not in deployments[name]["spec"]
        assert scaler["spec"]["maxReplicas"] == 9


def test_the_fleet(render: Render, overlays: dict[str, Any]) -> None:
    objects = render(overlays["gpu-fleet"])
    (scaler,) = of_kind(objects, "HorizontalPodAutoscaler")
    (metric,) = scaler["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    assert f"\n{name} 0.0\n" in Metrics().render().decode(), "the autoscaler reads a metric that there is not"
    deployments = {thing["metadata"]["name"]: thing for thing in of_kind(objects, "Deployment")}
    assert "replicas" not in deployments["try-mull"]["spec"], "the chart and the autoscaler would fight"
    engine = deployments["try-mull-engine-policy"]["spec"]["template"]["spec"]
    assert engine["nodeSelector"]
    assert engine["tolerations"]
    assert engine["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 4
    assert "--tensor-parallel-size=4" in engine["containers"][0]["args"]
    (server,) = [each for each in containers(objects) if each["name"] == "server"]
    assert server["envFrom"] == [{"secretRef": {"name": "mull-keys"}}]
    assert len(of_kind(objects, "ServiceMonitor")) == 3
    (rules,) = of_kind(objects, "PrometheusRule")
    assert rules["spec"]["groups"][0]["rules"]
    assert len(of_kind(objects, "PodDisruptionBudget")) == len(deployments)


def test_the_network_is_closed(render: Render, overlays: dict[str, Any]) -> None:
    policies = of_kind(render(overlays["gpu-fleet"]), "NetworkPolicy")
    assert len(policies) == 3
    for policy in policies:
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        assert all(rule.get("from") for rule in policy["spec"]["ingress"]), policy["metadata"]["name"]


@pytest.mark.parametrize(
    "values",
    [
        {"nonsense": 1},
        {"server": {"replica": 2}},
        {"engines": {"a": {}}},
        {"verifiers": {"a": {"kind": "oracle", "model": "m"}}},
        {"engines": {"Not A Name": {"model": "m"}}},
        {"engines": {"a": {"model": "m", "autoscaling": {"minimum": 1}}}},
        {"server": {"tls": {"clientCA": True}}},
        {"store": {"url": "postgresql://in:the@clear/"}},
    ],
)
def test_wrong_values_are_refused(render: Render, values: dict[str, Any]) -> None:
    with pytest.raises(helm.HelmError):
        render(values)


def test_the_adapter_knows_the_autoscalers_metrics(deploy: Path) -> None:
    adapter = yaml.safe_load((deploy / "prometheus" / "adapter-values.yaml").read_text())
    values = yaml.safe_load((deploy / "helm" / "mull" / "values.yaml").read_text())
    scaled = (values, values["engineDefaults"], values["verifierDefaults"])
    rules = {rule["name"]["as"]: rule for rule in adapter["rules"]["custom"]}
    assert set(rules) == {each["autoscaling"]["metric"] for each in scaled}
    for name, rule in rules.items():
        series = rule["seriesQuery"].partition("{")[0]
        assert series.replace(":", "_") == name
        assert rule["name"]["matches"] == f"^{series}$"
