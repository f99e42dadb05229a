import json
from pathlib import Path

import pytest

from mull.training.data.rows import Problem, Rollout, write
from mull.training.errors import TrainingError
from mull.training.generate import whole_lines
from mull.training.rollouts import Rollouts, collect, draw, judge, roll_out

# JSON leaves these as they are, and str.splitlines() would cut at them.
ODD = "a\u2028b\u2029c\x85d"


def problem(name: str) -> Problem:
    return Problem.model_validate({"id": name, "question": f"What is {name}?", "answer": "4"})


def drawn(path: Path, text: str) -> None:
    sample = {"text": text, "finish": "stop", "tokens": 3, "logprob": None}
    path.write_text(json.dumps({"request": 0, "samples": [sample]}, ensure_ascii=False) + "\n")


def test_a_line_that_a_kill_left_unfinished_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    drawn(path, ODD)
    whole = path.read_text()
    path.write_text(whole + whole[:20])
    assert [json.loads(line)["samples"][0]["text"] for line in whole_lines(path)] == [ODD]
    assert path.read_text() == whole
    assert collect(path, 1)[0][0].text == ODD
    with pytest.raises(TrainingError, match="1 of 2 requests got no samples"):
        collect(path, 2)


def test_samples_of_other_problems_are_never_taken_for_these(tmp_path: Path) -> None:
    path = tmp_path / "rollouts.jsonl"
    (tmp_path / "rollouts.requests.jsonl").write_text('{"prompt": "of another problem"}\n')
    drawn(tmp_path / "rollouts.drawn.jsonl", "5")
    with pytest.raises(TrainingError, match="drawn for other problems"):
        draw([{"prompt": "of this one"}], path, model="none", rollouts=Rollouts(), seed=1)
    assert "another" in (tmp_path / "rollouts.requests.jsonl").read_text()


def test_given_samples_must_cover_the_problems(tmp_path: Path) -> None:
    file = tmp_path / "given.jsonl"
    row = {"problem": "a", "prompt": [{"role": "user", "content": "What is a?"}], "answer": "4"}
    write(file, [Rollout.model_validate(row | {"samples": [{"text": "4", "finish": "stop", "right": True}]})])
    how = Rollouts(file=file)
    (found,) = roll_out([problem("a")], tmp_path / "x.jsonl", model="none", rollouts=how, seed=1)
    assert found.samples[0].right
    with pytest.raises(TrainingError, match="no samples of 1 problems, of 'b'"):
        roll_out([problem("a"), problem("b")], tmp_path / "x.jsonl", model="none", rollouts=how, seed=1)


def test_verdicts_are_of_meaning_and_none_without_a_reference() -> None:
    texts = [r"\boxed{0.5}", r"\boxed{\frac{1}{2}}", "nothing", r"\boxed{2}", r"\boxed{2}"]
    references = ["1/2", "1/2", "1/2", "1/2", None]
    assert [v.right for v in judge(list(zip(texts, references, strict=True)))] == [
        True,
        True,
        False,
        False,
        None,
    ]
