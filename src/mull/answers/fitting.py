"""Whether answers are what was asked for: JSON that fits a schema, calls of tools that there are."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mull.answers.calls import Call, canonical_json, spelled
from mull.answers.judge import Judge
from mull.answers.splitter import split
from mull.errors import InvalidRequest
from mull.form import Form

PATIENCE = 3
"""How often a schema may take too long before nothing is tried on it any more."""

_REMEMBERED = 4096


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was found in a text."""

    answer: str | None
    """The final answer; None abstains."""
    fits: bool = True
    """Whether the text is what was asked for."""


class Fitting:
    """Reads answers that have a form. Schemas are tried in processes of their own.

    Args:
        judge: Those processes.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._known: dict[bytes, Any] = {}
        self._overruns = Counter[bytes]()

    async def find(self, text: str, extract: Callable[[str], str | None] | None, form: Form) -> Found:
        """The answer in a text that has a form.

        Calls are an answer by their names and arguments; JSON is one where JSON is demanded.

        Args:
            text: What a model wrote.
            extract: Finds the answer in the content, where one is looked for; None takes the JSON.
            form: What the text is made of, and has to be.
        """
        parts = split(text, form)
        if parts.broken:
            return Found(answer=None, fits=False)
        if parts.calls:
            fits = all([await self._callable(call, form) for call in parts.calls])
            return Found(answer=spelled(parts.calls) if fits else None, fits=fits)
        if form.call:
            return Found(answer=None, fits=False)
        if form.json is None:
            content = parts.content if form.thoughts is not None else form.begun + parts.content
            return Found(answer=None if extract is None else extract(content))
        value = canonical_json(parts.content, fenced=False)
        schema = {"type": "object"} if form.json.schema is None else form.json.schema
        if value is None or not await self._fits(schema, value):
            return Found(answer=None, fits=False)
        return Found(answer=value if extract is None else extract(parts.content))

    async def check(self, form: Form) -> None:
        """Check the schemas of a form.

        Raises:
            InvalidRequest: naming one that is none.
        """
        for i, schema in enumerate(form.tools.values()):
            await self._check(schema, f"tools[{i}].function.parameters")
        if form.json is not None and form.json.schema is not None:
            await self._check(form.json.schema, "response_format.json_schema.schema")

    async def _check(self, schema: Mapping[str, Any], param: str) -> None:
        if not schema:
            return
        fault = await self._ask("fault", json.dumps(schema))
        if fault is None:
            raise InvalidRequest(f"{param}: it takes too long to check this schema", param=param)
        if fault:
            raise InvalidRequest(f"{param} is no JSON Schema: {fault}", param=param)

    async def _callable(self, call: Call, form: Form) -> bool:
        if call.name not in form.tools or (isinstance(form.call, str) and call.name != form.call):
            return False
        return await self._fits(form.tools[call.name] or {"type": "object"}, call.arguments)

    async def _fits(self, schema: Mapping[str, Any], value: str) -> bool:
        """Whether JSON fits a schema; not, where it cannot be told in time."""
        if schema == {"type": "object"}:
            return value.startswith("{")
        spelled_out = json.dumps(schema)
        key = _key(spelled_out)
        if self._overruns[key] >= PATIENCE:
            return False
        fits = await self._ask("fits", spelled_out, value)
        if fits is None:
            self._overruns[key] += 1
            if len(self._overruns) > _REMEMBERED:
                self._overruns.clear()
        return bool(fits)

    async def _ask(self, *request: str) -> Any:
        key = _key(*request)
        if key not in self._known:
            self._known[key] = (await self._judge.ask(*request))[0]
            if len(self._known) > _REMEMBERED:
                del self._known[next(iter(self._known))]
        return self._known[key]


def _key(*request: str) -> bytes:
    return hashlib.blake2b(repr(request).encode(errors="replace"), digest_size=16).digest()
