"""Verifiers as configuration."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from mull.answers import Answers
from mull.errors import InvalidRequest, NotFound, VerifierUnavailable
from mull.types import Passage
from mull.verifiers.config import build, engine_specs, parse
from mull.verifiers.registry import PLUGINS

Make = Callable[..., Any]


@pytest_asyncio.fixture
async def answers() -> AsyncIterator[Answers]:
    async with Answers() as answers:
        yield answers


def configs(**data: dict[str, Any]) -> dict[str, Any]:
    return {name: parse(each) for name, each in data.items()}


@pytest.mark.parametrize(
    ("data", "where"),
    [
        ({}, "kind"),
        ({"kind": "oracle"}, "kind"),
        ({"kind": "prm"}, "prm.model"),
        ({"kind": "prm", "model": ""}, "prm.model"),
        ({"kind": "prm", "model": "m", "delimiter": ""}, "prm.delimiter"),
        ({"kind": "prm", "model": "m", "aggregation": "max"}, "prm.aggregation"),
        ({"kind": "prm", "model": "m", "format": {"type": "x"}}, "prm.format"),
        ({"kind": "orm", "model": "m", "delimiter": "x"}, "orm.delimiter"),
        ({"kind": "likelihood", "model": "m", "temperature": 0}, "likelihood.temperature"),
        ({"kind": "composite", "of": []}, "composite.of"),
        ({"kind": "composite", "of": ["a"], "weights": [1, 2]}, "composite"),
        ({"kind": "composite", "of": ["a"], "weights": [-1]}, "composite.weights.0"),
        ({"kind": "remote", "urls": ["file:///etc"], "judges": "process"}, "remote.urls.0"),
        ({"kind": "remote", "urls": ["http://a"]}, "remote.judges"),
        ({"kind": "regex"}, "regex.pattern"),
        ({"kind": "syntax", "language": "cobol"}, "syntax.language"),
        ({"kind": "grounding", "delimiter": ""}, "grounding.delimiter"),
        ({"kind": "code", "seconds": 0}, "code.seconds"),
        ({"kind": "code", "memory": 1}, "code.memory"),
        ({"kind": "code", "tests": [""]}, "code.tests.0"),
    ],
)
def test_what_is_no_configuration_is_refused_by_name(data: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(data)
    assert where in caught.value.message


def test_one_engine_for_each_distinct_model() -> None:
    found = engine_specs(
        configs(
            prm={"kind": "prm", "model": "a"},
            again={"kind": "prm", "model": "a", "aggregation": "last"},
            orm={"kind": "orm", "model": "b"},
            lm={"kind": "likelihood", "model": "c", "reference": "d"},
            judge={"kind": "generative", "model": "c"},
            verdicts={
                "kind": "prm",
                "model": "c",
                "format": {"type": "token_logprobs", "good": "+", "bad": "-"},
            },
            small={"kind": "orm", "model": "b", "options": {"max_model_len": 64}},
            rule={"kind": "format"},
        )
    )
    assert [(spec.model, spec.runner) for spec in found] == [
        ("a", "pooling"),
        ("b", "pooling"),
        ("c", "generate"),
        ("d", "generate"),
        ("b", "pooling"),
    ]
    assert len({spec.name for spec in found}) == 5


async def test_rules_and_composites_are_built_in_any_order(
    answers: Answers, task: Make, candidate: Make
) -> None:
    made = await build(
        configs(
            both={"kind": "composite", "of": ["boxed", "digit"]},
            boxed={"kind": "format"},
            digit={"kind": "regex", "pattern": r"\d"},
            truth={"kind": "reference"},
            shape={"kind": "json_schema", "schema": {"type": "object"}},
            parses={"kind": "syntax"},
        ),
        answers=answers,
    )
    assert set(made) == {"both", "boxed", "digit", "truth", "shape", "parses"}
    assert all(made[name].name == name and made[name].kind == "outcome" for name in made)
    scores = await made["both"].score(task(), [candidate(r"\boxed{5}"), candidate(r"\boxed{x}")])
    assert [score.value for score in scores] == [1, 0]
    await made.check()
    await made.close()


async def test_settings_of_grounding_reach_it(task: Make, candidate: Make) -> None:
    made = await build(configs(facts={"kind": "grounding", "delimiter": "; ", "aggregation": "mean"}))
    asked = task(documents=(Passage(text="Vienna"),))
    (score,) = await made["facts"].score(asked, [candidate("Vienna; Moscow")])
    assert (score.steps, score.value) == ((1, 0), 0.5)


async def test_code_is_run_where_the_machine_allows_it(task: Make, candidate: Make) -> None:
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    try:
        made = await build(configs(tests={"kind": "code", "tests": ["assert f(1) == 2", "f(1) / 0"]}))
    except VerifierUnavailable as error:
        pytest.skip(f"no sandbox can be made on this machine: {error}")
    right = candidate("```python\ndef f(x):\n    return x + 1\n```")
    scores = await made["tests"].score(task(), [right, candidate("def f(x): return x + 1")])
    assert [score.value for score in scores] == [0.5, 0]
    await made.check()
    await made.close()


async def test_code_needs_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InvalidRequest, match="verifier 'tests': bubblewrap is not installed") as caught:
        await build(configs(tests={"kind": "code"}))
    assert caught.value.param == "verifiers.tests"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"a": {"kind": "composite", "of": ["b"]}}, "'b', which is unknown; known are a"),
        ({"a": {"kind": "composite", "of": ["a"]}}, "made of itself"),
        (
            {"a": {"kind": "composite", "of": ["b"]}, "b": {"kind": "composite", "of": ["a"]}},
            "made of itself",
        ),
    ],
)
async def test_composites_must_end_in_verifiers(data: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        await build(configs(**data))


async def test_check_names_the_verifier_that_is_down(
    serving: Make, scripted: Make, task: Make, candidate: Make
) -> None:
    from mull.verifiers.worker import create_app

    async with serving(create_app(scripted())) as url:
        made = await build(
            configs(
                up={"kind": "remote", "urls": [url], "judges": "process"},
                down={"kind": "remote", "urls": ["http://127.0.0.1:9"], "judges": "process"},
            )
        )
        assert made["up"].kind == "process"
        assert (await made["up"].score(task(), [candidate("5")]))[0].value == 0.5
        await made.check("up")
        with pytest.raises(VerifierUnavailable) as caught:
            await made.check()
        assert caught.value.name == "down"
        await made.close()


async def test_verifiers_of_other_packages(
    monkeypatch: pytest.MonkeyPatch, task: Make, candidate: Make
) -> None:
    monkeypatch.setitem(PLUGINS._builtin, "theirs", "mull.verifiers.rules:RegexVerifier")
    made = await build(configs(mine={"kind": "plugin", "use": "theirs", "options": {"pattern": "5"}}))
    assert made["mine"].name == "mine"
    assert (await made["mine"].score(task(), [candidate("5")]))[0].value == 1
    await made.close()


async def test_an_unknown_plugin_is_not_found() -> None:
    with pytest.raises(NotFound, match="verifier plugin 'mine'"):
        await build(configs(mine={"kind": "plugin", "use": "mine"}))


async def test_a_rule_without_answers_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"verifier 'boxed': .*needs `answers`"):
        await build(configs(boxed={"kind": "format"}))


def test_the_schema_of_a_configuration_survives_a_round_trip() -> None:
    data = {"kind": "json_schema", "schema": {"type": "object"}}
    assert parse(data).model_dump() == data
