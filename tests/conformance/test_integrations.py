"""What docs/integrations.md shows works."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml
from openai import OpenAI
from tests.conformance.conftest import Clients, example, examples

pytestmark = pytest.mark.slow

ONE_BY_ONE = "import json, sys\nfor code in json.load(sys.stdin): exec(code, {}); print('\\0', end='')"


def test_the_examples_in_python_run(clients: Clients, url: str) -> None:
    codes = examples("python", url)
    printed = clients.run(["python", "-c", ONE_BY_ONE], stdin=json.dumps(codes)).split("\0")[:-1]
    assert len(printed) == len(codes) == 3
    assert all("\\boxed{" in text for text in printed)


def test_the_example_for_node_runs(clients: Clients, package: object, url: str) -> None:
    (code,) = examples("js", url)
    assert "\\boxed{" in clients.node(code)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_example_for_curl_runs(clients: Clients, url: str) -> None:
    lines = [line for line in clients.run(["bash", "-euc", example("curl", "sh", url)]).splitlines() if line]
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1] if line.startswith("data: ")]
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert "\\boxed{" in text
    assert chunks[-1]["ttc"]["strategy"] == "best_of_n"


def test_the_models_in_the_configurations_exist(url: str) -> None:
    with OpenAI(base_url=url, api_key="none") as client:
        served = {model.id for model in client.models.list()}
    chat, editor, proxy = map(yaml.safe_load, examples("yaml"))
    (endpoint,) = chat["endpoints"]["custom"]
    (model,) = editor["models"]
    assert {*endpoint["models"]["default"], endpoint["titleModel"], model["model"]} <= served
    (host,) = proxy["virtual_hosts"]
    assert host["routes"][0]["route"]["timeout"] == "0s"
    assert "TASK_MODEL_EXTERNAL=mull-tiny+single" in example("Open WebUI", "sh", url)
    assert "mull-tiny+single" in served
