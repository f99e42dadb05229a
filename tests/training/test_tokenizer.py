"""Any text survives the tokenizer, and chats become the ids that the models were trained on."""

import random
from pathlib import Path

import pytest

pytest.importorskip("tokenizers")
from mull.training.bundled import tokenizer
from mull.training.bundled.pretrain import to_ids
from mull.training.bundled.problems import generate, generate_one
from mull.training.bundled.solver import solve


@pytest.mark.parametrize(
    "text", ["", "héllo 🙂  foo\n\n\t12345", "日本語 \x00 \\boxed{7}.", "a. b. Ada 7 +3=  "]
)
def test_arbitrary_text_round_trips(text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_problems_and_solutions_need_no_bytes() -> None:
    known = tokenizer.id_pieces()
    for problem in generate(8, 100):
        assert set(tokenizer.prompt_ids(problem.question)) <= known.keys()
        lines = solve(problem, random.Random(0))
        text = "".join(piece for line in lines for piece in line)
        assert tokenizer.encode(text) == to_ids(lines)[:-1]


def test_special_tokens_are_distinct() -> None:
    ids = [tokenizer.token_id(t) for t in (tokenizer.PAD, tokenizer.BOS, tokenizer.EOS)]
    assert ids == [0, 1, 2]
    with pytest.raises(KeyError):
        tokenizer.token_id("<nothing>")


def test_chat_template_gives_the_training_ids(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer.save(tmp_path)
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path)
    problem = generate_one(9, 1)
    lines = solve(problem, random.Random(0))
    prompt, solution = tokenizer.prompt_ids(problem.question), to_ids(lines)
    user = {"role": "user", "content": problem.question}
    render = loaded.apply_chat_template
    assert render([user], add_generation_prompt=True, return_dict=False) == prompt
    whole = [user, {"role": "assistant", "content": tokenizer.decode(solution)}]
    assert render(whole, return_dict=False) == prompt + solution
    started = [user, {"role": "assistant", "content": "".join(lines[0])}]
    expected = prompt + solution[: len(lines[0])]
    assert render(started, continue_final_message=True, return_dict=False) == expected
    masked = render(whole, return_dict=True, return_assistant_tokens_mask=True)
    assert sum(masked["assistant_masks"]) == len(solution)


def test_system_prompt_and_turns_are_kept(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer.save(tmp_path)
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path)
    turns = [("system", "Answer the question."), ("user", "A?"), ("assistant", "B."), ("user", "C?")]
    chat = [{"role": role, "content": content} for role, content in turns]
    text = loaded.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text == "<bos>Answer the question.\nA?\nB.<eos>C?\n"
