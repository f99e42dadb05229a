"""its-hub's beam search, run on demand. This runs in the neighbours' environment: it imports nothing of mull.

Each line of JSON on standard input has the `questions`, and how many to solve `at_a_time`; each line that is
printed has the `seconds` that it took, and for each question one of `latencies` and one of `texts`.
"""

import argparse
import asyncio
import json
import logging
import sys
import time
import warnings
from typing import Any

import aiohttp
from its_hub.api import AbstractProcessRewardModel
from its_hub.core.algorithms.beam_search import BeamSearch
from its_hub.core.lms.openai_lm import OpenAICompatibleLanguageModel
from its_hub.core.lms.step_generation import StepGeneration

WIDTH, BUDGET, DEPTH = 4, 16, 40


class Worker(AbstractProcessRewardModel):
    """The bundled reward model behind a verifier worker."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url, self.session = url, session

    def score(self, prompt_or_messages: Any, steps: list[str]) -> list[float]:
        raise NotImplementedError

    async def ascore(self, prompt_or_messages: Any, steps: list[str]) -> list[float]:
        """The lowest score of each answer's steps."""
        candidates = [{"text": text, "finish": "stop" if "\\boxed" in text else "step"} for text in steps]
        body = {"messages": [{"role": "user", "content": prompt_or_messages}], "candidates": candidates}
        async with self.session.post(self.url + "/v1/score", json=body) as response:
            response.raise_for_status()
            answer = await response.json()
        return [min(score["steps"]) for score in answer["scores"]]


async def main() -> None:
    """Work until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-url", required=True)
    parser.add_argument("--prm-url", required=True)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    model = OpenAICompatibleLanguageModel(options.model_url + "/v1", "none", "mull-tiny")
    steps = StepGeneration(DEPTH, "\n", "\\boxed", temperature=0.8, include_stop_str_in_output=True)
    async with aiohttp.ClientSession() as session:
        search = BeamSearch(steps, Worker(options.prm_url, session), WIDTH)
        while line := await asyncio.to_thread(sys.stdin.readline):
            asked = json.loads(line)
            print(json.dumps(await solve(search, model, asked["questions"], asked["at_a_time"])), flush=True)


async def solve(search: BeamSearch, model: Any, questions: list[str], at_a_time: int) -> dict[str, Any]:
    """Solve the questions, so many at a time."""
    latencies, texts = [0.0] * len(questions), [""] * len(questions)
    waiting, began = iter(range(len(questions))), time.perf_counter()

    async def worker() -> None:
        for index in waiting:
            started = time.perf_counter()
            texts[index] = (await search.ainfer(model, questions[index], BUDGET))["content"]
            latencies[index] = time.perf_counter() - started

    await asyncio.gather(*(worker() for _ in range(at_a_time)))
    return {"seconds": time.perf_counter() - began, "latencies": latencies, "texts": texts}


if __name__ == "__main__":
    asyncio.run(main())
