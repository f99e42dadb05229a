"""What a server and its verifier workers say to each other: the bodies of `POST /v1/score`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat

from mull.types import Candidate, Chat, Finish, Passage, Prompt, Score, Task, VerifierKind
from mull.verifiers.reading import sampled_ids

TokenId = Annotated[int, Field(ge=0, lt=2**31)]


def _whole_characters(text: str) -> str:
    """Refuse half of a surrogate pair: JSON can say it, no tokenizer can read it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("not valid Unicode") from error
    return text


Text = Annotated[str, AfterValidator(_whole_characters)]


class Message(BaseModel):
    """A message in OpenAI's shape; further fields (`tool_calls`, `name`) go to the chat template."""

    model_config = ConfigDict(strict=True, extra="allow")

    role: str = Field(min_length=1)
    content: str | list[dict[str, Any]] | None = None


class CandidateIn(BaseModel):
    """An answer to judge."""

    model_config = ConfigDict(strict=True, extra="forbid")

    text: Text
    finish: Finish = "stop"
    """How it ended: of itself, at a step's delimiter, or cut off."""
    ids: list[TokenId] = []
    """Its token ids as sampled; used if `tokenizer` is the verifier's and they spell the text."""


class DocumentIn(BaseModel):
    """A text that was retrieved for the conversation."""

    model_config = ConfigDict(strict=True, extra="forbid")

    text: Text
    id: Text = ""


class ScoreRequest(BaseModel):
    """A conversation and the answers to judge."""

    model_config = ConfigDict(strict=True, extra="forbid")

    messages: list[Message] = Field(min_length=1)
    candidates: list[CandidateIn] = Field(min_length=1, max_length=4096)
    reference: Text | None = None
    documents: list[DocumentIn] = Field([], max_length=4096)
    """What answers are to be held against, best first."""
    answer: str = "auto"
    """How final answers are found; see `mull.answers`."""
    tools: list[dict[str, Any]] = []
    chat_template_kwargs: dict[str, Any] = {}
    tokenizer: str | None = None
    """Fingerprint of the tokenizer that the `ids` belong to."""

    @classmethod
    def of(cls, task: Task, candidates: Sequence[Candidate], tokenizer: str | None) -> dict[str, Any]:
        """The request as plain data; ids are left out without `tokenizer`."""
        return {
            "messages": [dict(message) for message in task.chat.messages],
            "candidates": [
                {
                    "text": c.text,
                    "finish": c.finish or "step",
                    **({"ids": list(sampled_ids(c))} if tokenizer else {}),
                }
                for c in candidates
            ],
            "reference": task.reference,
            "answer": task.answer,
            "tools": [dict(tool) for tool in task.chat.tools],
            "chat_template_kwargs": dict(task.chat.template),
            "tokenizer": tokenizer,
            "documents": [{"text": passage.text, "id": passage.id} for passage in task.documents],
        }

    def task(self) -> Task:
        """The task as a verifier sees it."""
        messages = tuple(message.model_dump(exclude_unset=True) for message in self.messages)
        chat = Chat(messages=messages, tools=tuple(self.tools), template=self.chat_template_kwargs)
        documents = tuple(Passage(text=each.text, id=each.id) for each in self.documents)
        return Task(chat=chat, reference=self.reference, answer=self.answer, documents=documents)

    def judged(self, tokenizer: str | None) -> list[Candidate]:
        """The candidates as a verifier with this tokenizer sees them."""
        trusted = tokenizer is not None and self.tokenizer == tokenizer
        chat = self.task().chat
        found = []
        for each in self.candidates:
            ids = tuple(each.ids) if trusted else ()
            prompt = Prompt(chat=chat, ids=ids or None, text=each.text, generated=len(ids))
            found.append(Candidate(prompt=prompt, steps=(each.text,), finish=each.finish))
        return found


class ScoreOut(BaseModel):
    """One candidate's score."""

    model_config = ConfigDict(extra="ignore")

    value: FiniteFloat
    steps: list[FiniteFloat] = []
    tokens: int = Field(0, ge=0, lt=2**31)
    known: bool = True

    @classmethod
    def of(cls, score: Score) -> ScoreOut:
        """A score as it is sent."""
        return cls(value=score.value, steps=list(score.steps), tokens=score.tokens, known=score.known)

    def score(self) -> Score:
        """The score as it was."""
        return Score(value=self.value, steps=tuple(self.steps), tokens=self.tokens, known=self.known)


class ScoreResponse(BaseModel):
    """The scores, in the order of the candidates."""

    model_config = ConfigDict(extra="ignore")

    verifier: str
    kind: VerifierKind
    tokenizer: str | None = None
    """Fingerprint of the verifier's tokenizer."""
    scores: list[ScoreOut]
