"""Scripted models and verifiers, a world of known answers, and the laws that ours and yours must keep.

    from mull.testing import STRATEGY_LAWS

    @pytest.mark.parametrize("law", STRATEGY_LAWS)
    async def test_keeps_the_laws(law):
        await law(MyStrategy)

Importing this needs no test framework.
"""

from mull.testing.generator import ScriptedGenerator, decode, encode
from mull.testing.golden import tree
from mull.testing.laws import (
    GENERATOR_LAWS,
    STRATEGY_LAWS,
    VERIFIER_LAWS,
    Broken,
    Subject,
)
from mull.testing.retriever import ScriptedRetriever
from mull.testing.solving import Trial, solve
from mull.testing.verifier import ScriptedVerifier
from mull.testing.world import Dialogue, Odds, Script, World

__all__ = [
    "GENERATOR_LAWS",
    "STRATEGY_LAWS",
    "VERIFIER_LAWS",
    "Broken",
    "Dialogue",
    "Odds",
    "Script",
    "ScriptedGenerator",
    "ScriptedRetriever",
    "ScriptedVerifier",
    "Subject",
    "Trial",
    "World",
    "decode",
    "encode",
    "solve",
    "tree",
]
