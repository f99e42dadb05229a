import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

pytest.importorskip("peft")
torch = pytest.importorskip("torch")
import peft
from transformers import AutoModelForCausalLM, AutoTokenizer

from mull.training.data.problems import ProblemSource, load
from mull.training.errors import TrainingError
from mull.training.job import Job
from mull.training.recipes.adapters import TASKS, Adapter
from mull.training.recipes.sft import Sft

POLICY = str(Path(__file__).resolve().parents[3] / "models" / "policy")
WEIGHTS: list[dict[str, Any]] = [
    {"kind": "lora"},
    {"kind": "lora", "rslora": True, "dora": True, "targets": ["q_proj", "v_proj"]},
    {"kind": "adalora"},
]
VIRTUAL: list[dict[str, Any]] = [
    {"kind": "prefix"},
    {"kind": "prefix", "hidden": 16},
    {"kind": "prompt"},
    {"kind": "prompt", "text": "Solve it step by step."},
    {"kind": "p_tuning"},
]
ADAPTER: TypeAdapter[Adapter] = TypeAdapter(Adapter)
IDS = torch.tensor([[1, 692, 740, 473, 271, 711]])


def parse(raw: dict[str, Any]) -> Adapter:
    return ADAPTER.validate_python(raw)


def policy() -> Any:
    return AutoModelForCausalLM.from_pretrained(POLICY, dtype=torch.float32)


def adapted(raw: dict[str, Any]) -> Any:
    """The policy with an adapter whose parameters are no longer those it starts with."""
    torch.manual_seed(0)
    model = peft.get_peft_model(policy(), parse(raw).config("causal", POLICY))
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(0.05 * torch.randn_like(p))
    return model.eval()


def logits(model: Any) -> Any:
    with torch.no_grad():
        return model(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits[:, -IDS.shape[1] :]


def rows(count: int) -> list[dict[str, Any]]:
    source = ProblemSource.model_validate(
        {"generate": {"seed": 77, "count": count, "min_steps": 2, "max_steps": 3}}
    )
    return [
        {
            "prompt": [m.model_dump() for m in problem.prompt],
            "completion": [{"role": "assistant", "content": "\n".join(problem.steps or ())}],
        }
        for problem in load(source)
    ]


def trainer(output: Path, raw: dict[str, Any], steps: int, **training: Any) -> Any:
    recipe = Sft.model_validate(
        {
            "recipe": "sft",
            "model": POLICY,
            "output": output,
            "data": {"file": "rows.jsonl"},
            "peft": raw,
            "training": {
                "steps": steps,
                "batch": 8,
                "micro_batch": 8,
                "learning_rate": 1e-2,
                "warmup": 0,
                "schedule": "constant",
            }
            | training,
        }
    )
    assert recipe.peft is not None
    return recipe.trainer(Job(recipe=recipe, rows=rows(16), callbacks=recipe.peft.callbacks()))


@pytest.mark.parametrize("raw", [*WEIGHTS, *VIRTUAL, {"kind": "qlora"}])
@pytest.mark.parametrize("network", ["causal", "sequence", "token"])
def test_peft_is_told_the_task(raw: dict[str, Any], network: Any) -> None:
    assert parse(raw).config(network, POLICY).task_type == TASKS[network]


@pytest.mark.parametrize("raw", [*WEIGHTS, *VIRTUAL])
def test_few_parameters_are_trained(raw: dict[str, Any]) -> None:
    trained, all_of_them = adapted(raw).get_nb_trainable_parameters()
    assert 0 < trained < 0.15 * all_of_them


@pytest.mark.parametrize("raw", [*WEIGHTS, *VIRTUAL])
def test_a_saved_adapter_computes_the_same(tmp_path: Path, raw: dict[str, Any]) -> None:
    model = adapted(raw)
    assert not torch.allclose(logits(model), logits(policy()), atol=1e-3)
    model.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(policy(), tmp_path).eval()
    torch.testing.assert_close(logits(again), logits(model))


@pytest.mark.parametrize("raw", WEIGHTS)
def test_mergeable_adapters_merge_into_weights_that_compute_the_same(raw: dict[str, Any]) -> None:
    model = adapted(raw)
    expected = logits(model)
    assert parse(raw).mergeable
    torch.testing.assert_close(logits(model.merge_and_unload()), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("raw", VIRTUAL)
def test_virtual_tokens_cannot_be_merged(raw: dict[str, Any]) -> None:
    assert not parse(raw).mergeable
    with pytest.raises(AttributeError):
        adapted(raw).merge_and_unload()


def test_a_prompt_starts_from_its_text() -> None:
    config = parse({"kind": "prompt", "tokens": 3, "text": "Lea has"}).config("causal", POLICY)
    model = peft.get_peft_model(policy(), config)
    text = AutoTokenizer.from_pretrained(POLICY)("Lea has")["input_ids"]
    assert len(text) == 3
    torch.testing.assert_close(model.get_prompt(1)[0], model.get_input_embeddings()(torch.tensor(text)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_4_bit_weights_need_a_gpu() -> None:
    with pytest.raises(TrainingError, match=r"qlora needs a CUDA GPU.*lora works without"):
        parse({"kind": "qlora"}).quantized()


def test_the_others_load_the_model_as_it_is() -> None:
    assert all(parse(raw).quantized() == {} for raw in [*WEIGHTS, *VIRTUAL])


@pytest.mark.parametrize(
    "raw",
    [
        {"kind": "ia3"},
        {"kind": "lora", "tokens": 3},
        {"kind": "prefix", "tokens": 0},
        {"kind": "adalora", "before": 0.6, "after": 0.6},
        {"kind": "adalora", "rank": 4, "target_rank": 8},
        {"rank": 3},
    ],
)
def test_what_a_method_does_not_have_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        parse(raw)


ADALORA = {"kind": "adalora", "rank": 6, "target_rank": 2, "before": 0.2, "after": 0.3}


def ranks(model: Any) -> list[int]:
    """How many singular values of each adapted layer are not zero."""
    return [int((p != 0).sum()) for name, p in model.named_parameters() if "lora_E" in name]


@pytest.mark.slow
def test_adalora_ends_with_the_ranks_asked_for(tmp_path: Path) -> None:
    trained = trainer(tmp_path, ADALORA, steps=10, precision="fp32")
    trained.train()
    found = ranks(trained.model)
    assert sum(found) == 2 * len(found)
    assert len(set(found)) > 1
    expected = logits(trained.model.eval())
    trained.model.save_pretrained(tmp_path / "adapter")
    again = peft.PeftModel.from_pretrained(policy(), tmp_path / "adapter").eval()
    torch.testing.assert_close(logits(again), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits(trained.model.merge_and_unload()), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("until", [4, 8])
def test_adalora_goes_on_from_a_checkpoint_as_if_nothing_had_happened(tmp_path: Path, until: int) -> None:
    """Before and after the ranks are final, at update 7."""
    whole = trainer(tmp_path / "whole", ADALORA, steps=10, save_every=2, options={"save_total_limit": 9})
    whole.train()
    checkpoint = tmp_path / "parts" / "checkpoints" / f"checkpoint-{until}"
    shutil.copytree(tmp_path / "whole" / "checkpoints" / checkpoint.name, checkpoint)
    resumed = trainer(tmp_path / "parts", ADALORA, steps=10, save_every=2)
    resumed.train(resume_from_checkpoint=str(checkpoint))
    assert ranks(resumed.model) == ranks(whole.model)
    for (name, p), q in zip(whole.model.named_parameters(), resumed.model.parameters(), strict=True):
        torch.testing.assert_close(q, p, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("raw", [{"kind": "lora"}, *VIRTUAL])
def test_every_method_learns(tmp_path: Path, raw: dict[str, Any]) -> None:
    """The same sixteen demonstrations over and over."""
    taught = trainer(tmp_path, raw, steps=16)
    taught.train()
    losses = [entry["loss"] for entry in taught.state.log_history if "loss" in entry]
    assert sum(losses[-2:]) < 0.9 * sum(losses[:2])
