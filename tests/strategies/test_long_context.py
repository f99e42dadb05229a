"""Long texts: when they are taken apart, how, and what comes of the parts."""

from __future__ import annotations

import random
from typing import Any

import pytest

from mull.budget import Limits
from mull.errors import InvalidRequest
from mull.strategies.long_context import LongContext
from mull.testing import Script, ScriptedGenerator, ScriptedVerifier, Trial, World, solve
from mull.types import Chat, Sampling, Score, Task

from .readers import everything, says

WORLD = World()
QUESTION = "What is the code?"
PROMPTS = {
    "map_prompt": "PART {question} (or {nothing})\n{part}",
    "reduce_prompt": "NOTES {question}\n{notes}",
}
FILLER = "Nothing of note happened on this long and quiet day by the sea. "


def haystack(sentences: int, needle: str = "The code is 4711. ", at: float = 0.6) -> str:
    """A text with a needle in it."""
    hay = [FILLER] * sentences
    hay.insert(int(at * sentences), needle)
    return "".join(hay).strip()


def task(text: str, **fields: Any) -> Task:
    content = f"{text}\n\n{QUESTION}"
    return Task(
        chat=Chat(messages=({"role": "user", "content": content},)),
        sampling=Sampling(max_tokens=100, temperature=1.0, seed=1),
        **fields,
    )


class Model:
    """Notes what a part says of the code; answers with the code if the notes have it, else guesses."""

    def __init__(self, note: str = "The code is {code}.") -> None:
        self.parts: list[str] = []
        self.notes: list[str] = []
        self.note = note

    def engine(self, context: int = 600) -> ScriptedGenerator:
        return ScriptedGenerator(WORLD, talk=self._talk, context=context)

    def _talk(self, chat: Chat) -> Script:
        text = everything(chat)
        code = "4711" if "4711" in text else "17" if "17" in text else None
        if text.startswith("PART"):
            self.parts.append(text)
            return says(self.note.replace("{code}", code) if code else "Nothing.")
        self.notes.append(text)
        if code:
            return says(f"\\boxed{{{code}}}")
        return lambda path, rng, sampling: f"\\boxed{{{rng.randrange(1000)}}}"


def reading(**fields: Any) -> LongContext:
    return LongContext.model_validate(PROMPTS | fields, strict=True)


async def test_a_needle_in_one_of_twelve_parts_is_found() -> None:
    model, text = Model(), haystack(58)
    found, trial = await solve(reading(), WORLD, task=task(text), generator=model.engine())
    assert len(text) > 6 * 600
    assert found.best.answer == "4711"
    assert len(model.parts) == 12
    assert trial.run.budget.samples == 13 <= reading().cost().generations
    [reduced] = model.notes
    assert "[1]\nThe code is 4711." in reduced
    assert "othing" not in reduced, "parts without a note are left out"


async def test_wherever_the_needle_is() -> None:
    for at in range(11):
        found, _ = await solve(
            reading(), WORLD, task=task(haystack(40, at=at / 10)), generator=Model().engine()
        )
        assert found.best.answer == "4711"


async def test_a_model_that_notes_nothing_answers_as_without_the_text() -> None:
    model = Model(note="Nothing")
    found, _ = await solve(reading(), WORLD, task=task(haystack(40)), generator=model.engine())
    assert found.best.answer != "4711"
    assert model.notes == [f"NOTES {QUESTION}\nnothing"]


async def test_what_fits_is_answered_as_by_the_inner_strategy() -> None:
    short = task(haystack(3))
    strategy = reading(inner={"strategy": "majority_vote", "n": 3})
    model = Model()
    found, trial = await solve(strategy, WORLD, task=short, generator=model.engine(), commits=True)
    assert (model.parts, len(found.choices), trial.run.budget.samples) == ([], 3, 3)
    assert model.notes == [everything(short.chat)] * 3


async def test_the_parts_together_are_the_text_and_none_is_too_long() -> None:
    rng = random.Random(5)
    letters = "abc defg. hij\n\n"
    for _ in range(30):
        text = "".join(rng.choice(letters) for _ in range(rng.randrange(400, 3000))).strip("\n ") + "x"
        model = Model()
        trial = Trial(
            reading(), WORLD, task=task(text), generator=model.engine(context=rng.randrange(300, 500))
        )
        await trial.solve()
        if model.parts:
            said = "".join(part.partition("\n")[2] for part in model.parts)
            assert "".join(said.split()) == "".join(text.split())


async def test_a_dense_place_in_the_text_is_cut_finer() -> None:
    """Where a character takes three tokens, a part planned from the text's begin does not fit."""

    class Dense(ScriptedGenerator):
        async def render(self, chat: Chat) -> Any:
            return await super().render(
                Chat(
                    messages=tuple({**m, "content": m["content"].replace("語", "###")} for m in chat.messages)
                )
            )

    seen: list[str] = []

    def talk(chat: Chat) -> Script:
        seen.append(everything(chat))
        return says("The code is 4711" if "4711" in everything(chat) else "nothing")

    text = haystack(10) + "語" * 900
    engine = Dense(WORLD, talk=talk, context=600)
    await solve(reading(), WORLD, task=task(text), generator=engine)
    assert sum(part.count("###") for part in seen) == 900
    assert max(len(f"user: {part}\nassistant: ") for part in seen) <= 600 - 100


async def test_notes_too_long_for_one_prompt_are_read_again() -> None:
    model = Model(note="The code is {code}, as far as can be told from this part of the text. " * 2)
    text = " ".join(haystack(6, needle=f"The code is 17 or so, day {i}. ") for i in range(12))
    strategy = reading(note_tokens=150, levels=3)
    found, trial = await solve(strategy, WORLD, task=task(text), generator=model.engine())
    levels = [n.data["parts"] for n in trial.run.trace.nodes if n.kind == "map" and "parts" in n.data]
    assert len(levels) >= 2
    assert levels == sorted(levels, reverse=True)
    assert found.best.answer == "17"
    assert trial.run.budget.samples == sum(levels) + 1


async def test_notes_that_never_fit_are_left_out_from_the_end_and_the_trace_says_so() -> None:
    model = Model(note="The code is {code}, as far as can be told from this part of the text. " * 2)
    text = " ".join(haystack(6, needle=f"The code is 17 or so, day {i}. ") for i in range(12))
    strategy = reading(note_tokens=150, levels=1)
    found, trial = await solve(strategy, WORLD, task=task(text), generator=model.engine())
    [cut] = [n for n in trial.run.trace.nodes if n.kind == "too_long"]
    assert 0 < cut.data["kept"] < cut.data["notes"]
    assert found.best.answer == "17"


async def test_the_question_is_behind_the_last_blank_line_or_the_marker() -> None:
    for content, split in (
        (f"{haystack(20)}\n\nmore.\n \n{QUESTION}\n\n", None),
        (f"{haystack(20)} === a === {QUESTION}", "==="),
    ):
        model = Model()
        asked = Task(chat=Chat(messages=({"role": "user", "content": content},)))
        await solve(
            reading(**{} if split is None else {"split": split}), WORLD, task=asked, generator=model.engine()
        )
        assert all(part.startswith(f"PART {QUESTION} (or nothing)") for part in model.parts)
        assert model.notes[0].startswith(f"NOTES {QUESTION}\n")


async def test_a_system_message_stays() -> None:
    model = Model()
    chat = Chat(
        messages=(
            {"role": "system", "content": "PART"},
            {"role": "user", "content": f"{haystack(20)}\n\n{QUESTION}"},
        )
    )
    await solve(reading(), WORLD, task=Task(chat=chat), generator=model.engine())
    assert all(part.startswith(f"PART\nPART {QUESTION}") for part in model.parts[:-1])


@pytest.mark.parametrize(
    ("content", "fields", "why"),
    [
        (haystack(30), {}, "a blank line"),
        (haystack(30) + "\n\n" + QUESTION, {"split": "==="}, "'==='"),
        ("text\n\n" + haystack(30), {}, "the prompt has|leaves no room"),
        (haystack(60) + "\n\n" + QUESTION, {"parts": 3}, "3 are allowed"),
    ],
)
async def test_what_cannot_be_taken_apart_is_refused_before_anything_is_spent(
    content: str, fields: dict[str, Any], why: str
) -> None:
    asked = Task(chat=Chat(messages=({"role": "user", "content": content},)))
    trial = Trial(reading(**fields), WORLD, task=asked, generator=Model().engine())
    with pytest.raises(InvalidRequest, match=why) as refused:
        await trial.solve()
    assert refused.value.code == "context_length_exceeded"
    assert trial.generator.calls == 0


async def test_a_window_makes_the_context_smaller() -> None:
    model = Model()
    found, _ = await solve(
        reading(window=500), WORLD, task=task(haystack(30)), generator=model.engine(context=4096)
    )
    assert found.best.answer == "4711"
    assert len(model.parts) > 5


async def test_parts_may_overlap() -> None:
    plain, lapped = Model(), Model()
    for model, overlap in ((plain, 0.0), (lapped, 0.3)):
        await solve(
            reading(overlap=overlap), WORLD, task=task(haystack(40)), generator=model.engine(context=900)
        )
    assert sum(map(len, lapped.parts)) > 1.1 * sum(map(len, plain.parts))


async def test_a_verifier_sees_the_parts_that_gave_notes() -> None:
    class Grounded(ScriptedVerifier):
        seen: Any = ()

        async def score(self, task: Task, candidates: Any) -> list[Score]:
            self.seen = task.documents
            return await super().score(task, candidates)

    verifier = Grounded.constant()
    strategy = reading(inner={"strategy": "best_of_n", "n": 2})
    await solve(strategy, WORLD, task=task(haystack(58)), generator=Model().engine(), verifier=verifier)
    [passage] = verifier.seen
    assert "4711" in passage.text
    assert passage.id == "part 7"


async def test_a_spent_budget_leaves_the_notes_as_cut_off_answers() -> None:
    trial = Trial(
        reading(), WORLD, task=task(haystack(40)), generator=Model().engine(), limits=Limits(samples=5)
    )
    found = await trial.solve()
    assert trial.run.stopped == "samples"
    assert all(c.candidate.truncated and c.answer is None for c in found.choices)
    assert len(found.choices) == 5


async def test_the_answer_is_streamed_and_names_its_notes() -> None:
    found, trial = await solve(
        reading(), WORLD, task=task(haystack(40)), generator=Model().engine(), commits=True
    )
    assert trial.run.committed == found.best.candidate.text
    [node] = [n for n in trial.run.trace.nodes if n.kind == "reduce"]
    assert [trial.run.trace.nodes[i].text for i in node.data["parents"]] == ["The code is 4711."]


def test_it_needs_and_costs_what_its_inner_strategy_does() -> None:
    strategy = reading(inner={"strategy": "best_of_n", "n": 5}, parts=10, levels=2)
    assert strategy.needs.verifier == "outcome"
    assert (strategy.cost().generations, strategy.cost().scores) == (25, 5)


@pytest.mark.parametrize(
    "fields",
    [
        {"parts": 0},
        {"overlap": 0.6},
        {"levels": 0},
        {"window": 8},
        {"split": ""},
        {"map_prompt": "{question}"},
        {"reduce_prompt": "{notes}"},
        {"k": 2},
    ],
)
def test_bad_parameters_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        reading(**fields)
