"""Parameter-efficient training: the section `peft` of a recipe, for every method one model."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mull.training.errors import TrainingError

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import TrainerCallback

    from mull.training.recipes.base import Network

TASKS = {"causal": "CAUSAL_LM", "sequence": "SEQ_CLS", "token": "TOKEN_CLS"}
"""PEFT's name of the task by the network's head."""


class _Adapter(BaseModel):
    """Few trained parameters beside a frozen model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mergeable: ClassVar[bool]
    """Whether the trained parameters can be added into the model's own weights."""

    def config(self, network: Network, model: str) -> PeftConfig:
        """PEFT's configuration.

        Args:
            network: Head of the network; heads that are new are trained as a whole.
            model: Folder or name of the model, for methods that need its tokenizer.
        """
        raise NotImplementedError

    def quantized(self) -> dict[str, Any]:
        """What `from_pretrained` is told about the frozen model.

        Raises:
            TrainingError: the frozen model cannot be held that way here.
        """
        return {}

    def callbacks(self) -> list[TrainerCallback]:
        """What the trainer has to call while it trains."""
        return []


class _LowRank(_Adapter):
    rank: int = Field(16, ge=1)
    alpha: float = Field(32, gt=0, description="The update is scaled by alpha / rank.")
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: str | tuple[str, ...] = Field(
        "all-linear", description="Names of the adapted layers; the output layer is never one by default."
    )
    rslora: bool = Field(False, description="Scale by alpha / sqrt(rank) (arXiv:2312.03732).")
    dora: bool = Field(False, description="Train the weights' magnitudes as well (arXiv:2402.09353).")

    mergeable = True

    def config(self, network: Network, model: str) -> PeftConfig:
        from peft import LoraConfig

        return LoraConfig(
            task_type=TASKS[network],
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=_names(self.targets),
            use_rslora=self.rslora,
            use_dora=self.dora,
        )


class Lora(_LowRank):
    """LoRA (Hu et al. 2021, arXiv:2106.09685)."""

    kind: Literal["lora"]


class Qlora(_LowRank):
    """LoRA beside a quantised model (Dettmers et al. 2023, arXiv:2305.14314); needs a CUDA GPU."""

    kind: Literal["qlora"]
    bits: Literal[4, 8] = 4
    quantization: Literal["nf4", "fp4"] = Field("nf4", description="Values of the 4-bit weights.")
    double: bool = Field(True, description="Quantise the scales of the 4-bit weights, too.")

    def quantized(self) -> dict[str, Any]:
        import torch
        from transformers import BitsAndBytesConfig

        if not torch.cuda.is_available():
            raise TrainingError(
                "peft.kind: qlora needs a CUDA GPU, and there is none; lora works without", param="peft.kind"
            )
        if find_spec("bitsandbytes") is None:
            raise TrainingError(
                "peft.kind: qlora needs the package bitsandbytes: pip install bitsandbytes", param="peft.kind"
            )
        if self.bits == 8:
            return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
        return {
            "quantization_config": BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type=self.quantization,
                bnb_4bit_use_double_quant=self.double,
                bnb_4bit_compute_dtype=torch.bfloat16,
            )
        }


class AdaLora(_Adapter):
    """AdaLoRA (Zhang et al. 2023, arXiv:2303.10512): ranks shrink where they matter least."""

    kind: Literal["adalora"]
    rank: int = Field(12, ge=1, description="Rank of every layer at the start.")
    target_rank: int = Field(8, ge=1, description="Average rank of a layer in the end.")
    alpha: float = Field(32, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: str | tuple[str, ...] = "all-linear"
    before: float = Field(0.1, ge=0, lt=1, description="Share of the updates before ranks shrink.")
    after: float = Field(0.3, ge=0, lt=1, description="Share of the updates after the ranks are final.")
    every: int = Field(1, ge=1, description="Updates between two allocations.")

    mergeable = True

    @model_validator(mode="after")
    def _shrinks(self) -> AdaLora:
        if self.target_rank >= self.rank:
            raise ValueError(f"target_rank {self.target_rank} is not below rank {self.rank}")
        if self.before + self.after >= 1:
            raise ValueError("before and after leave no updates in which ranks shrink")
        return self

    def config(self, network: Network, model: str) -> PeftConfig:
        from peft import AdaLoraConfig

        return AdaLoraConfig(
            task_type=TASKS[network],
            init_r=self.rank,
            target_r=self.target_rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=_names(self.targets),
            deltaT=self.every,
            total_step=1,  # not known yet: the callback sets it when training begins
        )

    def callbacks(self) -> list[TrainerCallback]:
        from mull.training.recipes.allocation import Allocation

        return [Allocation(before=self.before, after=self.after)]


class Prefix(_Adapter):
    """Prefix tuning (Li and Liang 2021, arXiv:2101.00190): trained keys and values before the text."""

    kind: Literal["prefix"]
    tokens: int = Field(20, ge=1)
    hidden: int | None = Field(
        None, ge=1, description="Units of a projection that makes them; None for none."
    )

    mergeable = False

    def config(self, network: Network, model: str) -> PeftConfig:
        from peft import PrefixTuningConfig

        return PrefixTuningConfig(
            task_type=TASKS[network],
            num_virtual_tokens=self.tokens,
            prefix_projection=self.hidden is not None,
            encoder_hidden_size=self.hidden,
        )


class Prompt(_Adapter):
    """Prompt tuning (Lester et al. 2021, arXiv:2104.08691): trained embeddings before the text."""

    kind: Literal["prompt"]
    tokens: int = Field(20, ge=1)
    text: str | None = Field(None, min_length=1, description="Start from it; else from tokens at random.")

    mergeable = False

    def config(self, network: Network, model: str) -> PeftConfig:
        from peft import PromptTuningConfig

        started = {"prompt_tuning_init": "SAMPLE_VOCAB"}
        if self.text is not None:
            started = {
                "prompt_tuning_init": "TEXT",
                "prompt_tuning_init_text": self.text,
                "tokenizer_name_or_path": model,
            }
        return PromptTuningConfig(task_type=TASKS[network], num_virtual_tokens=self.tokens, **started)


class PTuning(_Adapter):
    """P-tuning (Liu et al. 2021, arXiv:2103.10385): embeddings before the text, made by a small network."""

    kind: Literal["p_tuning"]
    tokens: int = Field(20, ge=1)
    hidden: int = Field(128, ge=1, description="Units of the network.")

    mergeable = False

    def config(self, network: Network, model: str) -> PeftConfig:
        from peft import PromptEncoderConfig

        return PromptEncoderConfig(
            task_type=TASKS[network], num_virtual_tokens=self.tokens, encoder_hidden_size=self.hidden
        )


Adapter = Annotated[Lora | Qlora | AdaLora | Prefix | Prompt | PTuning, Field(discriminator="kind")]
"""The section `peft`."""


def _names(targets: str | tuple[str, ...]) -> str | list[str]:
    return targets if isinstance(targets, str) else list(targets)
