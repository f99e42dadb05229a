"""Verifiers that are rules about the form and the final answer: no model, a score of 0 or 1."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mull.answers import Answers
from mull.errors import InvalidRequest
from mull.types import Candidate, Score, Task, VerifierKind
from mull.verifiers.concurrency import together

if TYPE_CHECKING:
    from jsonschema import ValidationError

PASS, FAIL = Score(value=1.0), Score(value=0.0)
SECONDS = 0.1
"""How long one regular expression may search one text."""


def _verdict(passed: bool) -> Score:
    return PASS if passed else FAIL


class FormatVerifier:
    r"""Whether an answer has a final answer of the expected form: by default something in `\boxed{}`.

    Args:
        name: The verifier's name.
        answers: What finds final answers.
        form: How it is found, as in `Answers.extract`.
    """

    kind: VerifierKind = "outcome"

    def __init__(self, name: str, answers: Answers, *, form: str = "boxed") -> None:
        self.name = name
        self._answers = answers
        self._form = form

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        """1 for each candidate that has a final answer, in order."""
        return [_verdict(await self._answers.extract(c.text, self._form) is not None) for c in candidates]


class ReferenceVerifier:
    """Whether the final answer of a complete answer equals the task's reference mathematically.

    Args:
        name: The verifier's name.
        answers: What finds final answers and compares them.
    """

    kind: VerifierKind = "outcome"

    def __init__(self, name: str, answers: Answers) -> None:
        self.name = name
        self._answers = answers

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        """1 for each candidate that is right, in order.

        Raises:
            InvalidRequest: the task has no reference.
        """
        if task.reference is None:
            raise InvalidRequest(f"verifier {self.name!r} needs a reference answer", param="reference")
        reference = task.reference
        return await together(self._judge(candidate, task.answer, reference) for candidate in candidates)

    async def _judge(self, candidate: Candidate, form: str, reference: str) -> Score:
        if not candidate.complete:
            return FAIL
        answer = await self._answers.extract(candidate.text, form)
        return _verdict(answer is not None and await self._answers.equal(answer, reference))


class RegexVerifier:
    """Whether a regular expression (of the `regex` package) is found in an answer, or matches all of it.

    Args:
        name: The verifier's name.
        pattern: The expression.
        full: Whether it must match the whole text.
        seconds: Time limit for one text; a search that takes longer fails.

    Raises:
        ValueError: not a regular expression.
    """

    kind: VerifierKind = "outcome"

    def __init__(self, name: str, pattern: str, *, full: bool = False, seconds: float = SECONDS) -> None:
        import regex  # type: ignore[import-untyped]

        try:
            compiled = regex.compile(pattern)
        except regex.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
        self.name = name
        self._match = compiled.fullmatch if full else compiled.search
        self._seconds = seconds

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        """1 for each candidate that matches, in order."""
        return await together(asyncio.to_thread(self._judge, candidate.text) for candidate in candidates)

    def _judge(self, text: str) -> Score:
        try:
            # `concurrent` lets go of the interpreter lock during the search.
            return _verdict(self._match(text, timeout=self._seconds, concurrent=True) is not None)
        except TimeoutError:
            return FAIL


class JsonSchemaVerifier:
    """Whether an answer is JSON (alone, or in one code fence) that fits a JSON Schema.

    The draft is the one that the schema names, else 2020-12. Regular expressions in the schema are searched
    with a time limit; one that exceeds it does not match.

    Args:
        name: The verifier's name.
        schema: The schema. It may refer to parts of itself, never to other documents.

    Raises:
        ValueError: not a valid schema, or a reference in it leads nowhere.
    """

    kind: VerifierKind = "outcome"

    def __init__(self, name: str, schema: Mapping[str, Any]) -> None:
        import jsonschema
        import referencing.exceptions
        from referencing import Registry
        from referencing.jsonschema import DRAFT202012, specification_with

        self.name = name
        base = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        keywords = {
            "pattern": _pattern,
            "patternProperties": _pattern_properties,
            "additionalProperties": _additional,
        }
        extend: Any = jsonschema.validators.extend
        draft = extend(base, keywords)
        try:
            draft.check_schema(schema)
            dialect = specification_with(schema.get("$schema", ""), default=DRAFT202012)
            resource = dialect.create_resource(dict(schema))
            registry: Any = Registry().with_resource("", resource)
            for reference in _references(schema):
                registry.resolver_with_root(resource).lookup(reference)
        except jsonschema.SchemaError as error:
            raise ValueError(f"not a JSON Schema: {error.message}") from error
        except referencing.exceptions.Unresolvable as error:
            raise ValueError(f"the JSON Schema refers to {error.ref!r}, which is not in it") from error
        # A registry of our own: the default one fetches what it does not know.
        self._validator = draft(schema, registry=registry)

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        """1 for each candidate that is valid, in order."""
        return await together(asyncio.to_thread(self._judge, candidate.text) for candidate in candidates)

    def _judge(self, text: str) -> Score:
        try:
            return _verdict(self._validator.is_valid(_load(text)))
        except (ValueError, RecursionError):
            return FAIL


def _load(text: str) -> Any:
    """The JSON value that a text is, or that is in its only code fence."""
    text = text.strip()
    if text.startswith("```") and text.endswith("```") and len(text) >= 6:
        text = text[3:-3].removeprefix("json")
    return json.loads(text, parse_constant=_refuse)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            if key in ("$ref", "$dynamicRef") and isinstance(value, str):
                yield value
            else:
                yield from _references(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from _references(item)


def _found(pattern: str, text: str) -> bool:
    import regex

    try:
        return regex.search(pattern, text, timeout=SECONDS, concurrent=True) is not None
    except TimeoutError:
        return False


def _pattern(validator: Any, pattern: str, instance: object, schema: Any) -> Iterator[ValidationError]:
    from jsonschema import ValidationError

    if isinstance(instance, str) and not _found(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: object, schema: Any
) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for pattern, inner in patterns.items():
            for name, value in instance.items():
                if _found(pattern, name):
                    yield from validator.descend(value, inner, path=name, schema_path=pattern)


def _additional(
    validator: Any, allowed: Any, instance: object, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for name, value in instance.items():
            patterns = schema.get("patternProperties", {})
            if name not in schema.get("properties", {}) and not any(_found(p, name) for p in patterns):
                yield from validator.descend(value, allowed, path=name)
