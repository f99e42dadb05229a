"""Second turns are rendered as the server does it, labelled by the checker, learned where they should be."""

import json
import random
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tokenizers")
from mull.training.bundled import tokenizer, turn_figures, turns
from mull.training.bundled.checker import check_lines, is_right
from mull.training.bundled.corruption import corrupt
from mull.training.bundled.evaluate import Case, Scored
from mull.training.bundled.model import Llama, Size, deepen, load
from mull.training.bundled.policy import own_answers, train_policy
from mull.training.bundled.problems import Problem, generate
from mull.training.bundled.solver import solve
from mull.training.bundled.wording import CHECK, CRITIQUE

TINY = Size(width=32, layers=1, heads=2, feed_forward=48, vocab=784)


def text_of(lines: list[tuple[str, ...]]) -> str:
    return "".join(piece for line in lines for piece in line)


def wrong_pairs(count: int) -> list[tuple[Problem, str]]:
    pairs = [(p, text_of(corrupt(p, random.Random(n)))) for n, p in enumerate(generate(41, count))]
    return [(p, a) for p, a in pairs if turns.first_wrong(p, a) is not None]


def right_pairs(count: int) -> list[tuple[Problem, str]]:
    return [(p, text_of(solve(p, random.Random(n)))) for n, p in enumerate(generate(42, count))]


def learned_text(row: turns.Row) -> str:
    return tokenizer.decode([i for i, weight in zip(row.ids, row.learned, strict=True) if weight])


@pytest.mark.parametrize("pairs", [wrong_pairs(20), right_pairs(20)])
def test_examples_are_what_the_chat_template_gives(pairs: list[tuple[Problem, str]], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for n, (problem, answer) in enumerate(pairs):
        rng = random.Random(n)
        for said in (turns.check_turns(problem, answer), turns.revise_turns(problem, answer, rng)):
            messages = [{"role": t.role, "content": t.text} for t in said]
            ids = theirs.apply_chat_template(messages, tokenize=True, return_dict=False)
            assert turns.render(problem, said).ids == ids


def test_conversations_to_be_continued_are_rendered_alike() -> None:
    problem, answer = right_pairs(1)[0]
    row = turns.render(problem, turns.check_turns(problem, answer))
    asked = turn_figures.conversation([("user", problem.question), ("assistant", answer), ("user", CHECK)])
    assert row.ids[: len(asked)] == asked
    assert tokenizer.decode(row.ids[len(asked) :]) == "Yes"


def test_verdicts_and_critiques_agree_with_the_checker() -> None:
    for problem, answer in (*wrong_pairs(200), *right_pairs(50)):
        good = check_lines(problem, answer.split("\n"))
        assert turns.verdict(problem, answer) == ("Yes" if is_right(problem, answer) else "No")
        expected = "All correct." if all(good) else f"Line {good.index(False) + 1} is wrong."
        assert turns.critique(problem, answer) == expected


def test_revisions_are_right_and_keep_the_lines_before_the_error() -> None:
    for n, (problem, answer) in enumerate(wrong_pairs(200)):
        revised = turns.revision(problem, answer, random.Random(n))
        wrong = turns.first_wrong(problem, answer)
        assert wrong is not None
        assert all(check_lines(problem, revised.split("\n")))
        assert is_right(problem, revised)
        assert revised.split("\n")[: wrong - 1] == answer.split("\n")[: wrong - 1]


def test_a_right_answer_is_revised_to_itself() -> None:
    problem, answer = right_pairs(1)[0]
    assert turns.revision(problem, answer, random.Random(0)) == answer


def test_only_verdicts_are_learned_after_a_check() -> None:
    for problem, answer in (*wrong_pairs(20), *right_pairs(20)):
        row = turns.render(problem, turns.check_turns(problem, answer))
        assert learned_text(row) == turns.verdict(problem, answer)
        held = tokenizer.decode([i for i, weight in zip(row.ids, row.held, strict=True) if weight])
        assert held == (answer if turns.first_wrong(problem, answer) is None else "")


def test_only_right_critiques_and_revisions_are_learned() -> None:
    seen = set()
    for n, (problem, answer) in enumerate(wrong_pairs(80)):
        said = turns.revise_turns(problem, answer, random.Random(n))
        row = turns.render(problem, said)
        true = turns.critique(problem, answer)
        assert len(said) == 6
        assert is_right(problem, said[-1].text)
        misled = said[3].learned == "no"
        seen.add(misled)
        assert misled or said[3].text == true
        assert learned_text(row) == ("" if misled else true) + said[-1].text
    assert seen == {True, False}


def test_the_deciding_tokens_weigh_most() -> None:
    problem, _ = wrong_pairs(5)[0]
    row = turns.render(
        problem, [turns.Turn("user", "?"), turns.Turn("assistant", "Line 3 is wrong.", learned="verdict")]
    )
    heavy = [i for i, w in zip(row.ids, row.learned, strict=True) if w == turns.DECIDING_WEIGHT]
    assert tokenizer.decode(heavy) == "L 3"


def test_token_labels_cover_the_first_answer_and_turn_at_the_first_error() -> None:
    for problem, answer in wrong_pairs(40):
        row = turns.render(problem, turns.revise_turns(problem, answer, random.Random(0)))
        judged = [n for n, weight in enumerate(row.judged) if weight]
        assert tokenizer.decode([row.ids[n] for n in judged]) == answer
        good = [row.good[n] for n in judged]
        flip = good.index(False)
        assert not any(good[flip:])
        assert answer[: len(tokenizer.decode([row.ids[n] for n in judged[:flip]]))].count("\n") + 1 == (
            turns.first_wrong(problem, answer)
        )


def test_pools_depend_on_their_number_only_and_mix_everything() -> None:
    answers = [[text_of(solve(p, random.Random(0)))] for p in generate(500, 10)]
    mine, again = (turns.turn_pool(3, 5, answers, 500) for _ in range(2))
    for a, b in zip(mine, again, strict=True):
        assert torch.equal(a.ids, b.ids)
        assert torch.equal(a.learned, b.learned)
    rows = [row for batch in mine for row in batch.ids.tolist()]
    texts = [tokenizer.decode(row) for row in rows]
    checks, critiques = (sum(ask in text for text in texts) for ask in (CHECK, CRITIQUE))
    assert checks > 0.15 * len(texts)
    assert critiques > 0.15 * len(texts)
    assert len(texts) - checks - critiques > 0.3 * len(texts)


def test_the_loss_falls_and_leaves_the_old_policy_alone() -> None:
    torch.manual_seed(0)
    before = Llama(TINY).requires_grad_(False)
    model = deepen(before, 1, labels=turns.LABELS)
    pairs = [*wrong_pairs(4), *right_pairs(4)]
    batch = turns.collate([turns.render(p, turns.check_turns(p, a)) for p, a in pairs])
    frozen = {name: weight.clone() for name, weight in before.state_dict().items()}
    first = turns.turn_loss(model, batch, before)
    first.backward()  # type: ignore[no-untyped-call]
    for weight in model.parameters():
        if weight.grad is not None:
            weight.data -= 0.05 * weight.grad
    assert turns.turn_loss(model, batch, before) < first
    assert all(torch.equal(frozen[name], weight) for name, weight in before.state_dict().items())


def test_holding_alone_has_no_gradient_at_the_start() -> None:
    torch.manual_seed(0)
    before = Llama(TINY).requires_grad_(False)
    model = deepen(before, 1, labels=turns.LABELS)
    problem, answer = right_pairs(1)[0]
    said = [turns.Turn("user", problem.question), turns.Turn("assistant", answer, held=True)]
    row = turns.render(problem, said)
    none = [0.0] * len(row.ids)
    batch = turns.collate([turns.Row(row.ids, none, row.held, row.good, none)])
    turns.turn_loss(model, batch, before).backward()  # type: ignore[no-untyped-call]
    grads = {name: float(w.grad.abs().max()) for name, w in model.named_parameters() if w.grad is not None}
    # The score head of zeros starts to learn what surprised the old policy, and nothing behind it moves yet.
    assert grads.pop("score.weight") > 1e-3
    assert max(grads.values()) < 1e-6


def test_own_answers_are_finished_and_kept(tmp_path: Path) -> None:
    torch.manual_seed(0)
    answers = own_answers(Llama(TINY), tmp_path, problems=3)
    assert len(answers) == 3
    assert len(list(tmp_path.glob("*.pt"))) == 1
    assert own_answers(Llama(TINY), tmp_path, problems=3) == answers


def test_a_policy_is_written_without_its_score_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mull.training.bundled.policy as recipe

    monkeypatch.setattr(recipe, "SOLVER_SIZE", TINY)
    monkeypatch.setattr(recipe, "own_answers", lambda *_: [["The answer is \\boxed{1}."]])
    reported: list[float] = []
    train_policy(
        tmp_path / "out",
        tmp_path / "run",
        seed=1,
        tokens=1,
        turn_tokens=1,
        resume=False,
        report=lambda tokens, loss, seconds: reported.append(loss),
    )
    model = load(tmp_path / "out")
    assert model.score is None
    assert model.size.layers == TINY.layers + recipe.EXTRA_LAYERS
    assert json.loads((tmp_path / "out/generation_config.json").read_text())["temperature"] == 0.8
    assert (tmp_path / "run/turns/last.pt").exists()
    assert len(reported) == 2


def case_of(problem: Problem, answers: list[str]) -> Case:
    rows = [
        Scored(
            [*tokenizer.encode(a), tokenizer.token_id(tokenizer.EOS)],
            None,
            is_right(problem, a),
            check_lines(problem, a.split("\n")),
            0.0,
        )
        for a in answers
    ]
    return Case(problem, True, rows)


def test_figures_of_second_turns_count_what_they_say() -> None:
    right, wrong = right_pairs(1)[0], wrong_pairs(5)[0]
    cases = [case_of(*right[:1], [right[1]]), case_of(*wrong[:1], [wrong[1]])]
    cases[0].samples[0].outcome, cases[1].samples[0].outcome = 0.9, 0.2
    assert turn_figures.check_figures(cases, 1)["check: AUC of P(Yes)"].value == 1.0
    line = turns.first_wrong(*wrong)
    judged = [
        [turn_figures.Judged(cases[0].samples[0], None, False, 1.0)],
        [turn_figures.Judged(cases[1].samples[0], line, True, 0.25)],
    ]
    found = turn_figures.revision_figures(judged)
    assert found["critique: first-error F1"].value == 1.0
    assert found["revision of a wrong sample is right"].value == 1.0
    assert found["a new sample of the same problems is right"].value == 0.25
    assert found["one round of critique and revision"].value == 1.0


@pytest.mark.parametrize(("said", "line"), [("All correct.", None), ("Line 12 is wrong.", 12), ("", None)])
def test_the_line_that_a_critique_names(said: str, line: int | None) -> None:
    assert turn_figures.named_line(said) == line


def test_an_answer_that_stops_early_lacks_its_next_line() -> None:
    problem, answer = right_pairs(1)[0]
    lines = answer.removesuffix("\n").split("\n")
    begun = "\n".join(lines[:-1]) + "\n"
    assert turns.first_wrong(problem, begun) == len(lines)
    revised = turns.revision(problem, begun, random.Random(1))
    assert revised.startswith(begun)
    assert is_right(problem, revised)
