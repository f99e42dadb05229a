"""mull: test-time compute behind an OpenAI-compatible API. This package is the kernel."""

from mull.answers import Answers
from mull.budget import Budget, Limits
from mull.errors import (
    EngineUnavailable,
    InvalidRequest,
    MullError,
    NotFound,
    RetrieverUnavailable,
    Unavailable,
    Unsupported,
    VerifierUnavailable,
)
from mull.protocols import Generator, Retriever, Strategy, Verifier
from mull.registry import Registry
from mull.run import Run
from mull.trace import Node, Trace
from mull.types import (
    Aggregation,
    Answer,
    Candidate,
    Chat,
    Choice,
    Chunk,
    Completion,
    Finish,
    Meter,
    Passage,
    Prompt,
    Sampling,
    Score,
    Task,
    TokenLogprob,
    Usage,
    VerifierKind,
    aggregate,
)

__version__ = "0.1.0"

__all__ = [
    "Aggregation",
    "Answer",
    "Answers",
    "Budget",
    "Candidate",
    "Chat",
    "Choice",
    "Chunk",
    "Completion",
    "EngineUnavailable",
    "Finish",
    "Generator",
    "InvalidRequest",
    "Limits",
    "Meter",
    "MullError",
    "Node",
    "NotFound",
    "Passage",
    "Prompt",
    "Registry",
    "Retriever",
    "RetrieverUnavailable",
    "Run",
    "Sampling",
    "Score",
    "Strategy",
    "Task",
    "TokenLogprob",
    "Trace",
    "Unavailable",
    "Unsupported",
    "Usage",
    "Verifier",
    "VerifierKind",
    "VerifierUnavailable",
    "aggregate",
]
