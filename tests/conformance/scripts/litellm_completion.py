"""LiteLLM: whole, streamed, asynchronous, refused."""

import asyncio
import json
import sys

import litellm

url, question = sys.argv[1:]
ask = {
    "model": "openai/mull-tiny+best_of_n",
    "api_base": url,
    "api_key": "none",
    "messages": [{"role": "user", "content": question}],
    "seed": 1,
}

done = litellm.completion(**ask, ttc={"n": 4})
stream = list(litellm.completion(**ask, ttc={"n": 4}, stream=True, stream_options={"include_usage": True}))
try:
    litellm.completion(**ask, ttc={"n": 0})
except litellm.BadRequestError as error:
    refused = str(error)


async def later() -> str:
    return (await litellm.acompletion(**ask, ttc={"n": 4})).choices[0].message.content


print(
    json.dumps(
        {
            "whole": done.choices[0].message.content,
            "tokens": done.usage.completion_tokens,
            "streamed": "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices),
            "streamed_tokens": max(chunk.usage.completion_tokens for chunk in stream if "usage" in chunk),
            "async": asyncio.run(later()),
            "refused": refused,
        }
    )
)
