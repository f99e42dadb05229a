"""LangChain's ChatOpenAI: whole, streamed, asynchronous, refused."""

import asyncio
import json
import sys

from langchain_openai import ChatOpenAI
from openai import BadRequestError

url, question = sys.argv[1:]


def model(n: int) -> ChatOpenAI:
    ttc = {"ttc": {"strategy": "best_of_n", "n": n}}
    return ChatOpenAI(
        base_url=url, api_key="none", model="mull-tiny", seed=1, stream_usage=True, extra_body=ttc
    )


chat = model(4)
done = chat.invoke(question)
chunks = list(chat.stream(question))
try:
    model(0).invoke(question)
except BadRequestError as error:
    refused = error.param

print(
    json.dumps(
        {
            "whole": done.content,
            "tokens": done.usage_metadata["output_tokens"],
            "streamed": "".join(chunk.content for chunk in chunks),
            "streamed_tokens": sum((chunk.usage_metadata or {}).get("output_tokens", 0) for chunk in chunks),
            "async": asyncio.run(chat.ainvoke(question)).content,
            "refused": refused,
        }
    )
)
