"""A finished request as one line of the traces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mull.server import render
from mull.server.live import PROCESSING
from mull.server.service import CANCELLED, Served

FORMAT = 1
OUTCOMES = {PROCESSING: "running", 200: "finished", CANCELLED: "cancelled"}
KNOWN_BEFORE = (
    "format",
    "id",
    "created",
    "owner",
    "model",
    "strategy",
    "parameters",
    "verifier",
    "budget",
    "messages",
    "answer_kind",
    "reference",
)
"""What is known of a request before it is solved."""


def record(served: Served, *, text: bool) -> dict[str, Any]:
    """Everything that can be learned from a request.

    Args:
        served: The request and what came of it, or has come so far.
        text: Whether to keep what was written, by the user and by the model; else figures alone.
    """
    job, run, solved, error = served.job, served.run, served.solved, served.error
    plan, task, verifier = job.plan, job.task, served.verifier
    best = None if solved is None else solved.answer.best
    found: dict[str, Any] = {
        "format": FORMAT,
        "id": job.id,
        "created": job.created,
        "owner": job.caller.owner,
        "status": OUTCOMES.get(served.status, "failed"),
        "error": None if error is None else {"code": error.code, "message": error.message},
        "model": plan.model,
        "strategy": plan.name,
        "parameters": plan.strategy.model_dump(mode="json"),
        "verifier": None
        if verifier is None or plan.verifier is None
        else {"name": plan.verifier, "kind": verifier.verifier.kind, "version": verifier.version},
        "budget": asdict(plan.limits),
        "fallback": None if solved is None else solved.fallback,
        "messages": list(task.chat.messages),
        "answer_kind": task.answer,
        "reference": task.reference,
        "text": None if best is None else best.candidate.text,
        "answer": None if best is None else best.answer,
        "node": None if best is None else best.candidate.node,
        "score": None if best is None else best.score,
        "confidence": None if solved is None else solved.answer.confidence,
        "stopped": None if served.status == PROCESSING else run.stopped,
        "seconds": round(served.seconds, 4),
        "usage": {
            "prompt_tokens": run.usage.prompt,
            "completion_tokens": run.usage.completion,
            "verifier_tokens": run.verifier_tokens,
        }
        if solved is None
        else render.usage(solved) | {"verifier_tokens": run.verifier_tokens},
        "nodes": run.trace.to_list(),
    }
    return found if text else _without_text(found)


def begun(trace: Mapping[str, Any]) -> dict[str, Any]:
    """A trace as it was when its request began."""
    return {name: trace.get(name) for name in KNOWN_BEFORE} | {"status": "running"}


def node_without_text(node: Mapping[str, Any]) -> dict[str, Any]:
    """A node as it is kept where no text is."""
    # What strategies note about a node (queries, replies) may quote it.
    return {**node, "text": None, "data": {}}


def _without_text(found: dict[str, Any]) -> dict[str, Any]:
    written = dict.fromkeys(("messages", "reference", "text", "answer", "parameters"))
    if found["error"] is not None:
        written["error"] = found["error"] | {"message": None}
    return found | written | {"nodes": [node_without_text(node) for node in found["nodes"]]}
