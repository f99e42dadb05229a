"""The trained model in a folder that transformers, vLLM and mull load."""

from __future__ import annotations

import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from mull.training.job import LOADERS, Job


def save(job: Job, folder: Path) -> None:
    """Write the weights (in the number format of the base model), tokenizer and generation settings.

    Adapters are also kept as such, in `adapter/` beside the folder; where they can, they are added into the
    weights here. Those that cannot (virtual tokens) leave an adapter alone.

    All processes of a training call it; the first one writes.
    """
    model = _whole(job)
    if model is None:
        return
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    peft = job.recipe.peft
    if peft is not None:
        model.save_pretrained(folder.parent / "adapter")
        if peft.kind == "qlora":
            model = _on_whole_base(job, folder.parent / "adapter")
        if peft.mergeable:
            model = model.merge_and_unload()
    model.to(number_format(job.recipe.model)).save_pretrained(part)
    job.tokenizer.save_pretrained(part)
    _copy_rest(job, part)
    shutil.rmtree(folder, ignore_errors=True)
    part.replace(folder)


def _whole(job: Job) -> Any:
    """The trained model with all its weights; None in other processes than the first."""
    accelerator = job.trainer.accelerator
    if accelerator.num_processes == 1:
        return accelerator.unwrap_model(job.trainer.model)
    # Each process may hold a part: the trainer knows how to put them together in a folder.
    whole = job.folder / "checkpoints" / "whole"
    job.trainer.save_model(str(whole))
    if not accelerator.is_main_process:
        return None
    loader = LOADERS[job.recipe.network]
    if job.recipe.peft is None:
        model = loader.from_pretrained(whole, dtype=torch.float32)
    else:
        model = _on_whole_base(job, whole)
    shutil.rmtree(whole)
    return model


def _on_whole_base(job: Job, adapter: Path) -> Any:
    """An adapter on the base model with its weights as they are stored, not quantised."""
    from peft import PeftModel

    config = deepcopy(job.model.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    base = LOADERS[job.recipe.network].from_pretrained(job.recipe.model, config=config, dtype=torch.float32)
    return PeftModel.from_pretrained(base, adapter)


def _copy_rest(job: Job, folder: Path) -> None:
    """Files of the base model that training does not change: its chat template and generation settings."""
    base = Path(job.recipe.model)
    for name in ("chat_template.jinja", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        if (base / name).exists():
            shutil.copy(base / name, folder / name)


def number_format(model: str) -> torch.dtype:
    """In which the weights of a folder or hub model are stored."""
    from transformers import AutoConfig

    found = AutoConfig.from_pretrained(model).dtype
    return found if isinstance(found, torch.dtype) else torch.float32
