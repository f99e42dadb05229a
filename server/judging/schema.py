"""The bodies of POST /v1/score and POST /v1/rerank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from mull.answers import KINDS
from mull.errors import InvalidRequest, one_of
from mull.server.schemas import Strict
from mull.types import Aggregation, Candidate, Chat, Passage, Prompt, Task
from mull.verifiers.wire import CandidateIn, DocumentIn, Message, Text

MOST = 1024
"""Texts that one request may have judged."""

CONVERSATION = ("messages", "candidates")
PAIRS = ("text_1", "text_2")
"""The two forms that a request can have."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _with_text(value: Any) -> Any:
    """Texts as objects: both are understood."""
    if not isinstance(value, list):
        return value
    return [{"text": each} if isinstance(each, str) else each for each in value]


Texts = Annotated[list[Text], BeforeValidator(_listed), Field(min_length=1, max_length=MOST)]


class ScoreRequest(Strict):
    """What to judge: answers to a conversation, or pairs of a question and an answer."""

    model: str = Field(min_length=1, max_length=256, description="The verifier's name.")
    messages: list[Message] | None = Field(None, min_length=1, max_length=4096)
    candidates: Annotated[list[CandidateIn] | None, BeforeValidator(_with_text)] = Field(
        None, min_length=1, max_length=MOST, description="Answers to the conversation."
    )
    text_1: Texts | None = Field(None, description="A question, or one for each answer.")
    text_2: Texts | None = Field(None, description="Answers.")
    reference: Text | None = Field(None, description="The right answer, for verifiers that compare.")
    documents: Annotated[list[DocumentIn], BeforeValidator(_with_text)] = Field(
        [], max_length=MOST, description="What answers are held against, for verifiers of facts."
    )
    answer: str = Field("auto", json_schema_extra={"enum": list(KINDS)}, description="How answers are read.")
    aggregate: Aggregation | None = Field(
        None, description="How step scores become one; the verifier's own way when not given."
    )
    tools: list[dict[str, Any]] = Field(default_factory=list)
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    user: str | None = None

    @field_validator("answer")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in KINDS:
            raise ValueError(f"must be {one_of(KINDS)}, not {kind!r:.60}")
        return kind

    def judged(self) -> list[tuple[Task, list[Candidate]]]:
        """Each conversation with its answers; put after each other they are in the order of the request.

        Raises:
            InvalidRequest: neither form is complete, or texts and answers do not pair up.
        """
        self._check()
        if self.candidates is not None:
            messages = tuple(message.model_dump(exclude_unset=True) for message in self.messages or ())
            return [self._one(messages, self.candidates)]
        questions, answers = self.text_1 or [], [CandidateIn(text=text) for text in self.text_2 or ()]
        if len(questions) == 1:
            return [self._one(_user(questions[0]), answers)]
        return [
            self._one(_user(question), [answer]) for question, answer in zip(questions, answers, strict=True)
        ]

    def _check(self) -> None:
        given = [name for name in (*CONVERSATION, *PAIRS) if getattr(self, name) is not None]
        form = PAIRS if given and given[0] in PAIRS else CONVERSATION
        if not given or set(given) - set(form):
            raise InvalidRequest(
                "give either messages and candidates, or text_1 and text_2",
                param=given[-1] if given else "messages",
            )
        for name in form:
            if name not in given:
                raise InvalidRequest(
                    f"{name} is required with {given[0]}", param=name, code="missing_required_parameter"
                )
        questions, answers = len(self.text_1 or ()), len(self.text_2 or ())
        if form is PAIRS and questions not in (1, answers):
            raise InvalidRequest(
                f"text_1: give one text, or as many as text_2 has: {answers}, not {questions}", param="text_1"
            )

    def _one(
        self, messages: tuple[dict[str, Any], ...], answers: Sequence[CandidateIn]
    ) -> tuple[Task, list[Candidate]]:
        chat = Chat(messages=messages, tools=tuple(self.tools), template=self.chat_template_kwargs)
        documents = tuple(Passage(text=each.text, id=each.id) for each in self.documents)
        task = Task(chat=chat, reference=self.reference, answer=self.answer, documents=documents)
        return task, [_candidate(chat, each) for each in answers]


class RerankRequest(Strict):
    """A question and the texts to put in the order of their scores."""

    model: str = Field(min_length=1, max_length=256, description="The verifier's name.")
    query: Text
    documents: Annotated[list[DocumentIn], BeforeValidator(_with_text)] = Field(
        min_length=1, max_length=MOST, description="Texts, or objects with a text."
    )
    top_n: int | None = Field(None, ge=1)
    return_documents: bool = True
    user: str | None = None

    def judged(self) -> list[tuple[Task, list[Candidate]]]:
        """The question with the texts as its answers."""
        chat = Chat(messages=_user(self.query))
        return [(Task(chat=chat), [_candidate(chat, CandidateIn(text=each.text)) for each in self.documents])]


def _user(text: str) -> tuple[dict[str, Any], ...]:
    return ({"role": "user", "content": text},)


def _candidate(chat: Chat, given: CandidateIn) -> Candidate:
    return Candidate(prompt=Prompt(chat=chat, text=given.text), steps=(given.text,), finish=given.finish)
