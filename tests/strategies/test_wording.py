"""The second turns that the bundled policy was trained on are the strategies' defaults, word for word."""

from mull.strategies.rerank import Rerank
from mull.strategies.self_critique import SelfCritique
from mull.strategies.self_verify import SelfVerify
from mull.training.bundled import wording


def test_the_strategies_ask_what_the_policy_was_taught() -> None:
    critique = SelfCritique()
    assert (critique.critique, critique.revise) == (wording.CRITIQUE, wording.REVISE)
    assert critique.accept.lower() in wording.ALL_CORRECT.lower()
    assert SelfVerify().check == Rerank().check == wording.CHECK
