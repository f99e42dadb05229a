"""LangChain's tools and structured output, where the model calls a tool and where it writes JSON."""

import json
import sys

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

question = HumanMessage("What is one plus one?")


class Add(BaseModel):
    """Adds two numbers."""

    a: int
    b: int


def chat_of(url: str) -> ChatOpenAI:
    ttc = {"ttc": {"strategy": "majority_vote", "n": 3}}
    return ChatOpenAI(base_url=url, api_key="none", model="mull-tiny", extra_body=ttc)


def tools(chat: ChatOpenAI) -> dict:
    bound = chat.bind_tools([Add])
    said = bound.invoke([question])
    streamed = None
    for chunk in bound.stream([question]):
        streamed = chunk if streamed is None else streamed + chunk
    called = said.tool_calls
    told = [ToolMessage("2", tool_call_id=call["id"]) for call in called]
    return {
        "called": [[call["name"], call["args"]] for call in called],
        "streamed": [[call["name"], call["args"]] for call in streamed.tool_calls],
        "after": [call["args"] for call in bound.invoke([question, said, *told]).tool_calls],
        "forced": chat.with_structured_output(Add, method="function_calling").invoke([question]).model_dump(),
    }


def structured(chat: ChatOpenAI) -> dict:
    methods = ("json_schema", "json_mode")
    return {m: chat.with_structured_output(Add, method=m).invoke([question]).model_dump() for m in methods}


calling, writing = map(chat_of, sys.argv[1:])
print(json.dumps(tools(calling) | structured(writing)))
