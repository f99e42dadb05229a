"""Verdicts: which alternatives speak for which word, and what follows from their probabilities."""

from __future__ import annotations

import math
import random

import pytest

from mull.run import Run
from mull.strategies.single import Single
from mull.strategies.turns import follow_up
from mull.strategies.verdict import CHECK, verdict, verdicts
from mull.testing import ScriptedGenerator, Trial
from mull.types import Candidate, Chat, Prompt, TokenLogprob

from .talking import Talker

CHAT = Chat(messages=({"role": "user", "content": "Is it?"},))


def token(sampled: str, **odds: float) -> TokenLogprob:
    return placed(sampled, odds)


def placed(sampled: str, odds: dict[str, float]) -> TokenLogprob:
    top = tuple((text, i, math.log(p) if p else -math.inf) for i, (text, p) in enumerate(odds.items()))
    own = {text: logprob for text, _, logprob in top}.get(sampled, -0.5)
    return TokenLogprob(token=sampled, id=0, logprob=own, top=top)


def reply(*tokens: TokenLogprob, text: str | None = None) -> Candidate:
    said = "".join(t.token for t in tokens) if text is None else text
    return Candidate(prompt=Prompt(chat=CHAT), steps=(said,), finish="length", logprobs=tokens)


@pytest.mark.parametrize(
    ("odds", "value"),
    [
        ({"Yes": 0.6, "No": 0.2}, 0.75),
        ({"Y": 0.6, "N": 0.2}, 0.75),
        ({"Ye": 0.3, " yes": 0.3, "NO": 0.1, "No.": 0.1}, 0.75),
        ({"Yes": 0.3, "No": 0.3, "Maybe": 0.4}, 0.5),
        ({"Yes": 0.3, "": 0.4, " ": 0.1, "No": 0.1}, 0.75),
        ({"Yes": 0.3, "Yesterday": 0.4, "None": 0.1, "No": 0.1}, 0.75),
        ({"**Yes": 0.3, "▁No": 0.1}, 0.75),
        ({"Yes": 0.9}, 1.0),
        ({"No": 0.9, "Yes": 0.0}, 0.0),
    ],
)
def test_what_begins_a_word_speaks_for_it(odds: dict[str, float], value: float) -> None:
    assert verdict(reply(placed(max(odds, key=lambda text: odds[text]), odds))) == pytest.approx(value)


@pytest.mark.parametrize("odds", [{"Maybe": 0.9, "": 0.1}, {"Yes": 0.0, "No": 0.0}, {"\n": 1.0}])
def test_without_either_word_there_is_no_verdict(odds: dict[str, float]) -> None:
    assert verdict(reply(placed("Maybe", odds), text="Maybe")) is None


def test_what_follows_another_word_is_no_verdict() -> None:
    assert verdict(reply(placed("Well", {"Well": 1.0}), token("no", no=0.9, yes=0.1))) is None


def test_what_begins_both_words_speaks_for_neither() -> None:
    found = verdict(reply(token("tr", tr=0.8, true=0.1, trash=0.1)), "true", "trash")
    assert found == pytest.approx(0.5)


def test_blanks_and_marks_before_the_word_are_passed_over() -> None:
    first = placed("**", {"**": 0.9, "No": 0.1})
    assert verdict(reply(first, token("Yes", Yes=0.8, No=0.2))) == pytest.approx(0.8)


def test_a_reply_that_ends_at_once_is_read_by_what_it_might_have_said() -> None:
    assert verdict(reply(placed("", {"": 0.9, "Yes": 0.06, "No": 0.04}))) == pytest.approx(0.6)


def test_a_sampled_word_below_the_reported_ones_counts() -> None:
    own = TokenLogprob(token="Yes", id=9, logprob=math.log(0.1), top=(("No", 3, math.log(0.3)),))
    assert verdict(reply(own)) == pytest.approx(0.25)


def test_impossibly_small_odds_still_compare() -> None:
    own = TokenLogprob(token="x", id=9, logprob=0.0, top=(("Yes", 3, -2000.0), ("No", 4, -2000.0)))
    assert verdict(reply(own)) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("text", "value"), [("Yes", 1.0), (" no, it", 0.0), ("** Y", 1.0), ("Nothing", None), ("", None)]
)
def test_an_engine_without_alternatives_is_taken_at_its_word(text: str, value: float | None) -> None:
    assert verdict(reply(text=text)) == value


def test_random_pieces_give_what_their_words_give() -> None:
    """Cut into pieces and dressed in case and blanks, the words keep their shares."""
    rng = random.Random(0)
    for _ in range(300):
        good, bad = rng.choice([("Yes", "No"), ("right", "wrong"), ("A", "B"), ("да", "нет")])
        odds: dict[str, float] = {}
        shares = {good: 0.0, bad: 0.0}
        for _ in range(rng.randint(1, 8)):
            word = rng.choice([good, bad])
            piece = rng.choice(["", " ", "\n", "*"]) + rng.choice([str.upper, str.lower, str.title])(
                word[: rng.randint(1, len(word))]
            )
            if piece not in odds:
                odds[piece] = rng.random()
                shares[word] += odds[piece]
        odds |= {"other": rng.random(), " ": rng.random()}
        found = verdict(reply(placed("other", odds)), good, bad)
        assert found == pytest.approx(shares[good] / sum(shares.values()))


async def ask(world: Talker, texts: list[str], **options: object) -> tuple[list[float | None], Run]:
    trial = Trial(Single(), world, generator=ScriptedGenerator(world, **options))  # type: ignore[arg-type]
    chats = [follow_up(trial.task.chat, text, CHECK) for text in texts]
    return await verdicts(trial.run, chats), trial.run


async def test_equal_chats_are_asked_once_and_all_are_told() -> None:
    found, run = await ask(Talker(), [r"\boxed{111}", r"\boxed{2}", r"\boxed{111}"])
    assert found == pytest.approx([0.9, 0.2, 0.9])
    assert run.calls == 2


async def test_a_chat_beyond_the_context_has_no_verdict() -> None:
    found, run = await ask(Talker(), ["long " * 100, r"\boxed{111}"], context=300)
    assert found == [None, pytest.approx(0.9)]
    assert [node.kind for node in run.trace.nodes[1:]] == ["too_long", "verdict"]


async def test_it_asks_greedily_for_two_tokens_with_alternatives() -> None:
    world = Talker()
    trial = Trial(Single(), world)
    await verdicts(trial.run, [follow_up(trial.task.chat, "1", CHECK)])
    (asked,) = trial.generator.seen
    assert (asked.max_tokens, asked.temperature, asked.logprobs, asked.stop) == (2, 0.0, 20, ())
