"""Sampling with vLLM in a process of its own, which gives its memory back.

`python -m mull.training.generate SPEC`: the specification is a JSON file: `model` (folder or name), `seed`,
`context`, `options` (arguments of `vllm.LLM`) and `tasks`: each with `requests` (a JSON Lines file of
`{"prompt": messages, "prefix": text}`), `out`, `n`, `temperature`, `max_tokens` and `logprobs`. Every line of
`out` has the number of its request and its samples; a file that is there is completed, not begun anew.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

CHUNK = 2048
"""Samples between two writes: what a kill can cost."""


def main() -> None:
    """Draw what the specification asks for."""
    # One process, no compiler: the start of a small engine takes seconds instead of a minute.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    # More threads are slower on small models where cores are shared.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    spec = json.loads(Path(sys.argv[1]).read_text())
    from vllm import LLM

    llm = LLM(spec["model"], **_options(spec))
    for task in spec["tasks"]:
        _run(llm, task, spec["seed"])


def _options(spec: Mapping[str, Any]) -> dict[str, Any]:
    import torch

    options: dict[str, Any] = {"disable_log_stats": True, "seed": spec["seed"]}
    if spec["context"]:
        options["max_model_len"] = spec["context"]
    if not torch.cuda.is_available():
        options |= {
            "dtype": "bfloat16",
            "enforce_eager": True,
            "block_size": 32,
            "kv_cache_memory_bytes": 1 << 29,
            "max_num_seqs": 256,
            # A prompt computed in parts kills the CPU engine when its request has a seed.
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": 16384,
        }
    else:
        # What a trainer beside it leaves.
        free, total = torch.cuda.mem_get_info()
        options["gpu_memory_utilization"] = round(0.9 * free / total, 3)
    return {**options, **spec["options"]}


def _run(llm: Any, task: Mapping[str, Any], seed: int) -> None:
    from vllm import SamplingParams

    out = Path(task["out"])
    done = {json.loads(line)["request"] for line in whole_lines(out)}
    requests = [json.loads(line) for line in whole_lines(Path(task["requests"]))]
    todo = [number for number in range(len(requests)) if number not in done]
    tokenizer = llm.get_tokenizer()
    with out.open("a", encoding="utf-8") as file:
        for part in _parts(todo, max(1, CHUNK // task["n"])):
            params = [
                SamplingParams(
                    n=task["n"],
                    temperature=task["temperature"],
                    max_tokens=task["max_tokens"],
                    logprobs=0 if task["logprobs"] else None,
                    # Told by the number alone, so that a completed file is that of an unbroken run.
                    seed=None if task["temperature"] == 0 else (seed * 1_000_003 + number) * 4096,
                )
                for number in part
            ]
            prompts = [{"prompt_token_ids": _ids(tokenizer, requests[number])} for number in part]
            results = llm.generate(prompts, params, use_tqdm=False)
            for number, result in zip(part, results, strict=True):
                samples = [_sample(o, task["logprobs"]) for o in result.outputs]
                file.write(json.dumps({"request": number, "samples": samples}, ensure_ascii=False) + "\n")
            file.flush()


def _ids(tokenizer: Any, request: Mapping[str, Any]) -> list[int]:
    ids: list[int] = tokenizer.apply_chat_template(
        request["prompt"], add_generation_prompt=True, tokenize=True, return_dict=False
    )
    prefix = request.get("prefix", "")
    return ids + tokenizer.encode(prefix, add_special_tokens=False) if prefix else ids


def _sample(output: Any, logprobs: bool) -> dict[str, Any]:
    return {
        "text": output.text,
        "finish": output.finish_reason,
        "tokens": len(output.token_ids),
        "logprob": output.cumulative_logprob if logprobs else None,
    }


def _parts(items: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def whole_lines(path: Path) -> list[str]:
    """The lines of a file; one that a kill left unfinished is cut off."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    # Not splitlines: text in JSON may hold other characters that end lines.
    return whole.split("\n")[:-1]


if __name__ == "__main__":
    main()
