"""What every recipe has in common: the sections of its YAML file, and the steps from rows to a trainer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mull.training.data.problems import ProblemSource
from mull.training.guards.config import Guards
from mull.training.recipes.adapters import Adapter
from mull.training.rollouts import Rollouts

if TYPE_CHECKING:
    from mull.training.job import Job

Kind = Literal["sft", "preference", "unpaired", "outcome", "stepwise", "difficulty", "grpo"]
"""Format of the rows that a recipe learns from."""

Network = Literal["causal", "sequence", "token"]
"""Head of the network: next token, one score a text, or one verdict a token."""


class Section(BaseModel):
    """A section of a recipe: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(Section):
    """Rows that are ready for training."""

    file: Path


class Evaluation(Section):
    """Problems that no training may see, solved before and after."""

    problems: ProblemSource
    samples: int = Field(16, ge=0, description="Samples of each problem, besides the greedy one; 0 for none.")
    temperature: float = Field(0.8, gt=0)
    max_tokens: int = Field(200, ge=1)

    @property
    def rollouts(self) -> Rollouts:
        """How its samples are drawn."""
        return Rollouts(n=self.samples, temperature=self.temperature, max_tokens=self.max_tokens)


class Training(Section):
    """How the trainer goes about it."""

    learning_rate: float = Field(1e-4, gt=0)
    epochs: float = Field(1.0, gt=0)
    steps: int | None = Field(None, ge=1, description="Updates; overrides `epochs`.")
    batch: int = Field(64, ge=1, description="Rows an update and process; for reinforcement, completions.")
    micro_batch: int = Field(16, ge=1, description="Rows computed at once; divides `batch`.")
    warmup: float = Field(0.05, ge=0, le=1, description="Share of the updates over which the rate rises.")
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    weight_decay: float = Field(0.0, ge=0)
    clip: float = Field(1.0, gt=0, description="Largest norm of the gradient.")
    precision: Literal["bf16", "fp32"] = "bf16"
    attention: str | None = Field(None, description="As transformers calls it; eager on CPUs by default.")
    gradient_checkpointing: bool = False
    max_length: int | None = Field(
        None, ge=1, description="Tokens of a row; verifiers refuse longer ones, the others cut them."
    )
    save_every: int = Field(50, ge=1, description="Updates between checkpoints.")
    log_every: int = Field(1, ge=1)
    log_to: tuple[Literal["tensorboard", "wandb"], ...] = ()
    options: dict[str, Any] = Field(
        default_factory=dict, description="Further fields of the trainer's own configuration."
    )

    @model_validator(mode="after")
    def _whole_batches(self) -> Training:
        if self.batch % self.micro_batch:
            raise ValueError(f"micro_batch {self.micro_batch} does not divide batch {self.batch}")
        return self


class Recipe(Section):
    """One YAML file. Subclasses add `recipe: Literal[...]`, their own sections, and `make` and `trainer`."""

    recipe: str
    model: Annotated[str, Field(min_length=1)]
    output: Path
    seed: int = 1
    problems: ProblemSource | None = None
    data: Data | None = None
    rollouts: Rollouts | None = None
    peft: Adapter | None = None
    guards: Guards | None = None
    training: Training = Field(default_factory=Training)
    evaluation: Evaluation | None = None

    kind: ClassVar[Kind]
    network: ClassVar[Network] = "causal"
    needs_rollouts: ClassVar[bool] = False
    """Whether it learns from samples of the problems, such as a round of `iterate` draws."""

    @model_validator(mode="after")
    def _one_source(self) -> Recipe:
        if (self.problems is None) == (self.data is None):
            raise ValueError("give either `problems`, from which rows are made, or `data`, which has them")
        return self

    @model_validator(mode="after")
    def _virtual_tokens(self) -> Recipe:
        if self.peft is None or self.peft.mergeable:
            return self
        if self.evaluation is not None and self.evaluation.samples:
            raise ValueError(
                f"evaluation.samples must be 0 with peft.kind {self.peft.kind}: vLLM loads no virtual "
                "tokens, and transformers answers greedily only"
            )
        if self.peft.kind == "prefix" and self.training.gradient_checkpointing:
            raise ValueError("training.gradient_checkpointing does not work with peft.kind prefix")
        return self

    @property
    def samples(self) -> bool:
        """Whether `make` samples the problems."""
        return self.needs_rollouts

    @property
    def reads_answers(self) -> bool:
        """Whether `make` reads the references of the problems, not only what the rollouts say of samples."""
        return False

    def make(self, job: Job) -> list[dict[str, Any]]:
        """Rows of `kind`, made from `problems`; called only where there is no `data`.

        Raises:
            TrainingError: this recipe cannot make its rows, or there is nothing to make them from.
        """
        raise NotImplementedError

    def trainer(self, job: Job) -> Any:
        """A ready `transformers.Trainer`; `job` has the model, the tokenizer and the dataset."""
        raise NotImplementedError

    def figures(self, job: Job, model: Path) -> dict[str, Any]:
        """Further figures of a trained (or base) model in a folder, by name; a verifier's F1, say."""
        return {}
