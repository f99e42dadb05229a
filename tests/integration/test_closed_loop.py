"""From served searches to a better verifier in the running server, without a request that fails."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from mull.training.bundled import problems as bundled
from mull.training.data.labels import exact, steps_of
from mull.training.data.rows import Problem, Stepwise, read

if TYPE_CHECKING:
    from tests.integration.conftest import Process

MODELS = Path(__file__).parents[2] / "models"
ADMIN = {"Authorization": "Bearer sesame"}
BEAM = {"strategy": "beam_search", "width": 2, "expand": 2}
SEARCHES, HELD_OUT = 200, 120

pytestmark = pytest.mark.slow


def problems(seed: int, count: int) -> list[Problem]:
    rows = (bundled.to_row(p) for p in bundled.generate(seed, count))
    return [Problem.model_validate(row) for row in rows]


def weakened(folder: Path) -> Path:
    """The bundled PRM, but its score head knows nothing."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(MODELS / "prm", folder)
    path = folder / "model.safetensors"
    weights = load_file(path)
    torch.manual_seed(3)  # AUC about .5
    weights["score.weight"] = torch.randn_like(weights["score.weight"], dtype=torch.float32).to(
        weights["score.weight"].dtype
    )
    weights["score.bias"] = torch.zeros_like(weights["score.bias"])
    save_file(weights, path, metadata={"format": "pt"})
    return folder


class Client:
    """Asks the server, many problems at once."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=600)

    def ask(self, problem: Problem, **ttc: Any) -> dict[str, Any]:
        body = {
            "model": "mull-tiny",
            "messages": [message.model_dump() for message in problem.prompt],
            "seed": 1,
            "temperature": 0.8,
            "max_tokens": 200,
            "ttc": ttc,
        }
        response = self.http.post("/v1/chat/completions", json=body)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def ask_all(self, asked: Sequence[Problem], **ttc: Any) -> list[dict[str, Any]]:
        with ThreadPoolExecutor(16) as pool:
            return list(pool.map(lambda problem: self.ask(problem, **ttc), asked))

    def accuracy(self, asked: Sequence[Problem], **ttc: Any) -> float:
        answers = [found["ttc"]["answer"] for found in self.ask_all(asked, **ttc)]
        right = [a == p.answer for a, p in zip(answers, asked, strict=True)]
        return right.count(True) / len(asked)

    def labelled(self, asked: Sequence[Problem]) -> Iterator[dict[str, Any]]:
        """Samples with the exact label of each step."""
        found = self.ask_all(asked, strategy="majority_vote", n=4, include=["candidates"])
        for problem, reply in zip(asked, found, strict=True):
            for text in {c["text"] for c in reply["ttc"]["candidates"] if c["finish_reason"] == "stop"}:
                if steps := steps_of(text):
                    prompt = [message.model_dump() for message in problem.prompt]
                    labels = [float(good) for good in exact(problem, steps)]
                    yield {"prompt": prompt, "completions": steps, "labels": labels}

    def reload(self, **body: Any) -> httpx.Response:
        return self.http.post("/v1/ttc/verifiers/prm/reload", json=body, headers=ADMIN)


@contextmanager
def asking(client: Client, asked: Sequence[Problem]) -> Iterator[list[int]]:
    """Searches that go on all the while; the list counts those that succeeded."""
    over, done = threading.Event(), list[int]()

    def work(start: int) -> None:
        at = start
        while not over.is_set():
            client.ask(asked[at % len(asked)], **BEAM)
            done.append(at)
            at += 1

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(work, 30 * n) for n in range(4)]
        try:
            yield done
        finally:
            over.set()
        for worker in workers:
            worker.result()


def mull(*arguments: str) -> str:
    """What a command says."""
    command = [sys.executable, "-c", "from mull.server.cli import main; main()", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def train(weak: Path, rows: Path, output: Path) -> Path:
    """The `prm` recipe on rows from traces, starting from the weakened verifier."""
    training = {"learning_rate": 1e-3, "steps": 16, "batch": 32, "micro_batch": 32, "precision": "fp32"}
    recipe = {
        "recipe": "prm",
        "model": str(weak),
        "output": str(output),
        "data": {"file": str(rows)},
        "training": training,
    }
    path = output.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(recipe))
    mull("train", str(path))
    return output / "model"


def test_served_searches_make_the_verifier_better(
    serving: Callable[..., AbstractContextManager[Process]], tmp_path: Path
) -> None:
    weak, check = weakened(tmp_path / "weak"), tmp_path / "check.jsonl"
    settings = {
        "MULL_MODELS": json.dumps({"mull-tiny": {"path": str(MODELS / "policy")}}),
        "MULL_VERIFIERS": json.dumps({"prm": {"kind": "prm", "model": str(weak)}}),
        "MULL_DEFAULTS": json.dumps({"verifiers": {"process": "prm"}}),
        "MULL_TRACES__DIR": str(tmp_path / "traces"),
        "MULL_VERIFIER_DIRS": json.dumps([str(tmp_path)]),
        "MULL_VERIFIERS_CHECK": str(check),
        "MULL_ADMIN_KEY": "sesame",
    }
    held_out = problems(770_002, HELD_OUT)
    with serving(tmp_path, **settings) as process:
        client = Client(process.url)
        with client.http:
            for problem in (seen := problems(770_001, SEARCHES)):
                assert problem.prompt not in [other.prompt for other in held_out]
            with ThreadPoolExecutor(16) as pool:
                list(pool.map(lambda p: client.ask(p, **BEAM, reference=p.answer), seen))
            rows = tmp_path / "rows.jsonl"
            said = mull("data", "from-traces", str(tmp_path / "traces"), "--for", "prm", "--out", str(rows))
            assert str(SEARCHES) in said
            found = read(rows, Stepwise)
            assert len({row.source["trace"] for row in found if row.source}) > SEARCHES / 2
            check.write_text("".join(json.dumps(row) + "\n" for row in client.labelled(held_out)))
            before = client.accuracy(held_out, **BEAM)

            trained = train(weak, rows, tmp_path / "trained")
            with asking(client, held_out) as done:
                reloaded = client.reload(model=str(trained))
                assert reloaded.status_code == 200, reloaded.text
                assert done
            after = client.accuracy(held_out, **BEAM)
            figures = reloaded.json()["last_check"]
            summary = (
                f"step AUC {figures['old']['auc']:.3f} -> {figures['new']['auc']:.3f}, "
                f"ECE {figures['old']['ece']:.3f} -> {figures['new']['ece']:.3f}, "
                f"beam search {before:.3f} -> {after:.3f}, "
                f"{len(found)} rows, {len(done)} beside the reload"
            )
            print(summary)
            assert figures["rows"] >= 100
            assert figures["new"]["auc"] > figures["old"]["auc"] + 0.1, summary
            # 54 % to 67 % when this was written. The difference of 120 answers has a standard error of .04.
            assert after > before - 0.04, summary

            worse = client.reload(model=str(weak))
            assert worse.status_code == 409
            assert worse.json()["error"]["code"] == "verifier_worse"
            listed = client.http.get("/v1/ttc/verifiers").json()["data"]
            assert listed[0]["version"] == reloaded.json()["version"]
            assert listed[0]["healthy"]
