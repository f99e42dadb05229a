"""Every error that mull raises on purpose.

    MullError
    ├── InvalidRequest        400  the caller asked for something that cannot be
    │   ├── BudgetTooSmall    400  the budget did not allow a single token
    │   ├── NotFound          404  a name (model, verifier, strategy, trace) that does not exist
    │   └── Unsupported       400  a capability that the engine or verifier lacks
    └── Unavailable           503  something mull depends on does not answer
        ├── EngineUnavailable
        ├── VerifierUnavailable
        └── RetrieverUnavailable

Running out of budget is not an error: the best answer so far is returned, flagged.
"""

from __future__ import annotations

from collections.abc import Iterable


class MullError(Exception):
    """Base of all deliberate errors; `status` and `code` are what an HTTP client sees."""

    status = 500
    type = "server_error"
    code = "internal_error"

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or type(self).code


class InvalidRequest(MullError):
    """The request itself is wrong; `param` names the field and the message what is allowed."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_value"


class BudgetTooSmall(InvalidRequest):
    """The budget did not allow an answer at all."""

    code = "budget_exhausted"


class NotFound(InvalidRequest):
    """A named thing does not exist."""

    status = 404
    code = "not_found"


class Unsupported(InvalidRequest):
    """The chosen engine or verifier cannot do what was asked of it."""

    code = "unsupported_value"


class Unavailable(MullError):
    """A dependency does not answer; trying again later may help."""

    status = 503
    code = "unavailable"
    retry_after: float = 1.0


class EngineUnavailable(Unavailable):
    """The engine behind a model died, refused or did not answer."""

    code = "engine_unavailable"


class VerifierUnavailable(Unavailable):
    """A verifier died, refused or did not answer; `name` says which."""

    code = "verifier_unavailable"

    def __init__(self, message: str, *, name: str) -> None:
        super().__init__(message)
        self.name = name


class RetrieverUnavailable(Unavailable):
    """A retriever's index cannot be read or its store does not answer; `name` says which."""

    code = "retriever_unavailable"

    def __init__(self, message: str, *, name: str) -> None:
        super().__init__(message)
        self.name = name


def one_of(names: Iterable[str]) -> str:
    """The allowed names as the end of an error message: `a, b or c`."""
    known = sorted(names)
    if not known:
        return "none is configured"
    return known[0] if len(known) == 1 else ", ".join(known[:-1]) + " or " + known[-1]
