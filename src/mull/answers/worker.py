"""The process in which what may never end is done. Run as a script; it imports nothing of mull.

Lines of JSON come in (`["equal", a, b]`, say: one of `VERBS` and its arguments) and go out
(`[result, seconds]`), one each. A supervisor keeps the libraries imported and forks the child that does the
work: sympy and regular expressions cannot be interrupted (a power of powers is one call into C), so an
overrunning child dies by its timer and is replaced in milliseconds instead of the seconds that imports take.
"""

from __future__ import annotations

import cmath
import contextlib
import json
import logging
import os
import resource
import signal
import sys
import time
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any, BinaryIO

_WARM_UP = (
    (r"x^2-1", r"(x-1)(x+1)"),
    (r"\frac{\sqrt{3}}{2}", r"1-\pi"),
    (r"\{1,2\}", r"(1,\infty)"),
    (r"x=5", r"5\text{ cm}"),
)
DIGITS = 6
"""Decimal places to which math-verify compares floats."""


def supervise(seconds: float, memory: int, work: str) -> None:
    """Answer requests from standard input until it closes.

    Args:
        seconds: Processor time that one request may take.
        memory: Address space that the worker may use, in bytes.
        work: What to be ready for: `maths` or `schemas`.
    """
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not look like a reply
    logging.disable(logging.CRITICAL)
    # Imports the libraries and fills their caches, once for all children.
    if work == "schemas":
        fits('{"type": "object"}', "{}")
    else:
        for a, b in _WARM_UP:
            equal(a, b)
    _reply(replies, "ready")
    child: _Child | None = None
    for line in requests:
        child = child or _Child(seconds)
        reply = child.ask(line)
        if not reply:
            child.bury()
            child = None
            reply = json.dumps([None, seconds]).encode() + b"\n"
        replies.write(reply)
        replies.flush()


class _Child:
    """A forked process that answers requests one at a time."""

    def __init__(self, seconds: float) -> None:
        ask_read, ask_write = os.pipe()
        answer_read, answer_write = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(ask_write)
            os.close(answer_read)
            _serve(os.fdopen(ask_read, "rb"), os.fdopen(answer_write, "wb"), seconds)
            os._exit(0)
        os.close(ask_read)
        os.close(answer_write)
        self._requests, self._replies = os.fdopen(ask_write, "wb"), os.fdopen(answer_read, "rb")

    def ask(self, line: bytes) -> bytes:
        """The child's reply; empty if it died."""
        try:
            self._requests.write(line)
            self._requests.flush()
            return self._replies.readline()
        except BrokenPipeError:
            return b""

    def bury(self) -> None:
        """Reap the dead child."""
        os.waitpid(self._pid, 0)
        self._replies.close()
        with contextlib.suppress(BrokenPipeError):
            self._requests.close()


def _serve(requests: BinaryIO, replies: BinaryIO, seconds: float) -> None:
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process
    for line in requests:
        verb, *answers = json.loads(line)
        started = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            result = VERBS[verb](*answers)
        except Exception:  # whatever a parser or sympy raises on odd input: it cannot be told
            result = None
        signal.setitimer(signal.ITIMER_PROF, 0)
        _reply(replies, [result, time.process_time() - started])


def _reply(replies: BinaryIO, value: Any) -> None:
    replies.write(json.dumps(value).encode() + b"\n")
    replies.flush()


@lru_cache(maxsize=2048)
def _parse(answer: str) -> Any:
    from math_verify import LatexExtractionConfig, parse

    # Only the LaTeX reader: the one for plain expressions hands the text to Python's eval.
    config = LatexExtractionConfig(boxed_match_priority=0)
    found = parse(
        f"\\boxed{{{answer}}}", [config], fallback_mode="no_fallback", parsing_timeout=0, raise_on_error=True
    )
    return found[0] if found else None


def weigh(answer: str) -> list[float] | bool:
    """Read one answer.

    Returns:
        Its value as real and imaginary part, variables having fixed arbitrary values: only answers with close
        values can be equal. True where it has no value but can be compared; else False.
    """
    from sympy import Expr

    expression = _parse(answer)
    if expression is None:
        return False
    if not isinstance(expression, Expr) or expression.is_Symbol:
        return True
    variables = {s: 1 + zlib.crc32(s.name.lower().encode()) / 2**32 for s in expression.free_symbols}
    try:
        value = complex(expression.subs(variables).evalf(15))
    except TypeError:
        return True
    return [value.real, value.imag] if cmath.isfinite(value) else bool(variables)


def equal(a: str, b: str) -> bool:
    """Whether two answers are mathematically equal, whichever is taken as the reference.

    A tuple and a set have to agree both ways: order counts in the one and not in the other.
    """
    from math_verify import verify
    from sympy import Tuple

    left, right = _parse(a), _parse(b)
    if left is None or right is None:
        return False
    ways = (verify(g, t, float_rounding=DIGITS, timeout_seconds=0) for g, t in ((left, right), (right, left)))
    return all(ways) if isinstance(left, Tuple) or isinstance(right, Tuple) else any(ways)


@lru_cache(maxsize=64)
def _validator(schema: str) -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for
    from referencing import Registry

    parsed = json.loads(schema)
    # An empty registry: nothing is ever fetched.
    return validator_for(parsed, default=Draft202012Validator)(parsed, registry=Registry())


def fits(schema: str, text: str) -> bool:
    """Whether a text of JSON fits a schema."""
    return bool(_validator(schema).is_valid(json.loads(text)))


def fault(schema: str) -> str:
    """What is wrong with a schema; nothing when it is sound."""
    from jsonschema import SchemaError

    try:
        _validator(schema).check_schema(json.loads(schema))
    except SchemaError as error:
        where = "".join(f"/{part}" for part in error.absolute_path)
        return f"at {where or '/'}: {error.message:.200}"
    return ""


VERBS: dict[str, Callable[..., Any]] = {"weigh": weigh, "equal": equal, "fits": fits, "fault": fault}
"""What can be asked."""

if __name__ == "__main__":
    supervise(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
