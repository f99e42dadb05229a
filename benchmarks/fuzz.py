"""Fuzz what reads requests and answers, led by coverage: `python benchmarks/fuzz.py -max_total_time=600`.

Needs atheris (`pip install atheris`), which has wheels for Linux. Ends with a traceback and the input that
caused it when anything but a deliberate error is raised. Options and folders of inputs are libFuzzer's.
"""

from __future__ import annotations

import sys
from contextlib import suppress

import atheris  # type: ignore[import-not-found, unused-ignore]
from pydantic import ValidationError

with atheris.instrument_imports(include=["mull.server", "mull.answers", "mull.form"]):
    from mull.answers import extract
    from mull.answers.splitter import split
    from mull.errors import InvalidRequest
    from mull.form import Form, Thoughts
    from mull.server.batches.schemas import BatchRequest
    from mull.server.completions import schema as completions
    from mull.server.judging.schema import RerankRequest, ScoreRequest
    from mull.server.messages import schema as messages
    from mull.server.responses import schema as responses
    from mull.server.schemas import parse, read_object

NESTING = 32
MODELS = (RerankRequest, ScoreRequest, BatchRequest)


def requests(data: bytes) -> None:
    """All request models are read from the same bytes."""
    with suppress(InvalidRequest):
        parse(data, nesting=NESTING).task()
    try:
        body = read_object(data, nesting=NESTING)
    except InvalidRequest:
        return
    for read in (
        lambda: completions.parse(body, most=16).as_chat().task(),
        lambda: messages.parse(body)[1].task(),
        lambda: responses.parse(body).as_chat(()).task(),
        *(lambda model=model: model.model_validate(body) for model in MODELS),
    ):
        with suppress(InvalidRequest, ValidationError):
            read()


def answers(data: bytes) -> None:
    """All that is read out of a model's text."""
    text = data.decode(errors="replace")
    for read in (extract.auto, extract.number, extract.choice, extract.boxed, extract.whole):
        read(text)
    forms = (Form(), Form(thoughts=Thoughts()), Form(tools={"f": {"type": "object"}}))
    for form in forms:
        split(text, form)


def one(data: bytes) -> None:
    """One input: its first byte says what reads it."""
    (answers if data[:1] < b"\x40" else requests)(data[1:])


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
