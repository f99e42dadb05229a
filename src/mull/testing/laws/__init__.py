"""What every strategy, generator and verifier has to keep, as checks that anyone can run on their own.

A law is an async function that raises `Broken` with the reason. The laws of generators and verifiers are for
real ones too.
"""

from mull.testing.laws.broken import Broken
from mull.testing.laws.generators import GENERATOR_LAWS
from mull.testing.laws.strategies import STRATEGY_LAWS, Subject
from mull.testing.laws.verifiers import VERIFIER_LAWS

__all__ = ["GENERATOR_LAWS", "STRATEGY_LAWS", "VERIFIER_LAWS", "Broken", "Subject"]
