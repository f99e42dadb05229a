from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mull.server.bench.problems import read_problems
from mull.server.bench.spec import RunSpec, grid, parse_run


def test_a_run_is_split_into_what_a_request_has() -> None:
    run = parse_run(
        "best_of_n:n=16,verifier=orm,temperature=0.7,top_k=20,budget_tokens=900,model=other,aggregate=min"
    )
    assert run.request(model="mull-tiny", candidates=True) == {
        "model": "other",
        "temperature": 0.7,
        "top_k": 20,
        "ttc": {
            "strategy": "best_of_n",
            "n": 16,
            "aggregate": "min",
            "verifier": "orm",
            "budget": {"tokens": 900},
            "include": ["candidates"],
        },
    }
    assert run.label == (
        "best_of_n:n=16,aggregate=min,verifier=orm,temperature=0.7,top_k=20,budget_tokens=900,model=other"
    )


def test_a_strategy_alone_is_a_run() -> None:
    assert parse_run("single") == RunSpec(strategy="single")
    assert parse_run("single").label == "single"


def test_a_quoted_value_may_hold_commas_and_escapes() -> None:
    assert parse_run(r'beam_search:delimiter="a,\n\"b",width=2').parameters == {
        "delimiter": 'a,\n"b',
        "width": 2,
    }


def test_a_strategy_goes_into_another_as_json() -> None:
    run = parse_run('cascade:levels=[{"at_least":0.5,"inner":{"strategy":"single"}}],label=short,n=2')
    assert run.parameters == {"levels": [{"at_least": 0.5, "inner": {"strategy": "single"}}], "n": 2}
    assert run.label == "short"


def test_a_shell_passes_a_nested_run_on_whole() -> None:
    line = """echo --run 'cascade:inner={"strategy":"majority_vote","n":4},label="a, b"'"""
    said = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True).stdout
    run = parse_run(said.removeprefix("--run ").strip())
    assert run.parameters["inner"] == {"strategy": "majority_vote", "n": 4}
    assert run.label == "a, b"


@pytest.mark.parametrize(
    "text",
    [
        'a:inner={"strategy":"b","list":[1,{"c":"}"}]},n=4',
        r'a:delimiter="\n",stop="x, [y]"',
        'a:x="4",y=true,z=plain-text,verifier=orm,temperature=0.5,budget_tokens=90,model=m',
        'a:x="",y="[step]"',
    ],
)
def test_the_text_of_a_run_reads_back(text: str) -> None:
    assert parse_run(text).text == text
    assert parse_run(parse_run(text).text) == parse_run(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not begin with a strategy's name"),
        (":n=4", "does not begin with a strategy's name"),
        ("best_of_n:n", "not of the form name=value"),
        ("best_of_n:n=4,", "an empty part, or a quote or bracket that is not closed"),
        ('beam_search:delimiter="x,width=2', "an empty part, or a quote or bracket that is not closed"),
        ('cascade:inner={"n":4', "a quote or bracket that is not closed"),
        ('cascade:inner={"n":[4}]', "a quote or bracket that is not closed"),
        ("cascade:inner=n}", "a quote or bracket that is not closed"),
        ("cascade:inner={strategy:single}", "holds no JSON; in a shell, put the whole run in single quotes"),
        ("best_of_n:n=4,n=8", "gives n twice"),
    ],
)
def test_a_malformed_run_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_run(text)


def test_the_grid_is_every_run_at_every_budget() -> None:
    cells = grid(
        [parse_run("single:temperature=0"), parse_run("majority_vote:n=4")], [100, 200], {"temperature": 1.0}
    )
    assert [(cell.strategy, cell.budget["tokens"], cell.sampling["temperature"]) for cell in cells] == [
        ("single", 100, 0),
        ("single", 200, 0),
        ("majority_vote", 100, 1.0),
        ("majority_vote", 200, 1.0),
    ]
    assert cells[0].deterministic
    assert not cells[2].deterministic


def test_the_same_run_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="single is asked for twice"):
        grid([parse_run("single"), parse_run("single")], [], {})
    with pytest.raises(ValueError, match="single is asked for twice"):
        grid([parse_run("single:label=a"), parse_run("single:label=b")], [], {})
    with pytest.raises(ValueError, match="a is asked for twice"):
        grid([parse_run("single:label=a"), parse_run("cot:label=a")], [], {})


def test_problems_take_the_number_of_steps_where_it_is_known(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(
        '{"question": "a", "answer": "1", "n_steps": 3}\n\n'
        '{"question": "b", "answer": 2, "steps": ["x", "y"]}\n'
        '{"question": "c", "answer": 0.5}\n'
    )
    found = read_problems(path)
    assert [(p.question, p.answer, p.steps) for p in found] == [
        ("a", "1", 3),
        ("b", "2", 2),
        ("c", "0.5", None),
    ]
    assert [p.question for p in read_problems(path, 2)] == ["a", "b"]
    assert len({p.key for p in found}) == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1"),
        ("[1]", "not an object"),
        ('{"question": "a"}', "no 'answer'"),
        ('{"question": 1, "answer": "1"}', "question must be a string"),
        ('{"question": "a", "answer": null}', "answer a string or a number"),
        ('{"question": "a", "answer": "1", "n_steps": "two"}', "n_steps must be an integer"),
        ("", "holds no problem"),
    ],
)
def test_a_malformed_problem_is_named_by_its_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match=message):
        read_problems(path)
