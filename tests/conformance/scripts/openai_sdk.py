"""The openai package: whole, streamed, asynchronous, refused."""

import asyncio
import json
import sys

from openai import AsyncOpenAI, BadRequestError, OpenAI

url, question = sys.argv[1:]
ask = {"model": "mull-tiny+best_of_n", "messages": [{"role": "user", "content": question}], "seed": 1}


async def later() -> str:
    async with AsyncOpenAI(base_url=url, api_key="none") as client:
        done = await client.chat.completions.create(**ask, extra_body={"ttc": {"n": 4}})
        return done.choices[0].message.content


with OpenAI(base_url=url, api_key="none") as client:
    done = client.chat.completions.create(**ask, extra_body={"ttc": {"n": 4}})
    chunks = list(client.chat.completions.create(**ask, extra_body={"ttc": {"n": 4}}, stream=True))
    try:
        client.chat.completions.create(**ask, extra_body={"ttc": {"n": 0}})
    except BadRequestError as error:
        refused = error.param
    models = [model.id for model in client.models.list()]

print(
    json.dumps(
        {
            "whole": done.choices[0].message.content,
            "tokens": done.usage.completion_tokens,
            "samples": done.ttc["samples"],
            "streamed": "".join(chunk.choices[0].delta.content or "" for chunk in chunks),
            "async": asyncio.run(later()),
            "refused": refused,
            "models": models,
        }
    )
)
