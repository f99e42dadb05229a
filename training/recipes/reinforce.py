"""Reinforcement learning from rewards that can be checked: GRPO and its kin, RLOO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mull.training.data.problems import load
from mull.training.errors import TrainingError
from mull.training.recipes.base import Kind, Recipe
from mull.training.rewards.config import Correct, Reward
from mull.training.statistics import mean

if TYPE_CHECKING:
    from mull.training.job import Job

LOSSES: dict[str, dict[str, Any]] = {
    # DeepSeekMath, arXiv:2402.03300
    "grpo": {"loss_type": "grpo"},
    # arXiv:2503.14476: a wider clip above, and all tokens weigh the same
    "dapo": {"loss_type": "dapo", "epsilon_high": 0.28, "mask_truncated_completions": True},
    # arXiv:2503.20783: divided neither by the answer's length nor by the group's spread
    "dr_grpo": {"loss_type": "dr_grpo", "scale_rewards": "none"},
    # arXiv:2507.18071: one ratio for the whole answer
    "gspo": {
        "loss_type": "grpo",
        "importance_sampling_level": "sequence",
        "epsilon": 3e-4,
        "epsilon_high": 4e-4,
    },
}
"""What each member of the family sets in TRL's `GRPOConfig`; `training.options` may change it."""


class Reinforcement(Recipe):
    """What the recipes of reinforcement share. `training.batch` counts completions, not problems."""

    kind: ClassVar[Kind] = "grpo"
    group: int = Field(16, ge=2, description="Completions of each problem; divides `training.batch`.")
    temperature: float = Field(1.0, gt=0)
    max_tokens: int = Field(256, ge=1, description="Tokens of a completion.")
    difficulty: tuple[float, float] | None = Field(
        None,
        description="Keep problems whose pass rate lies between: both all right and all wrong teach nothing. "
        "Rates come from section `rollouts`.",
    )
    rewards: tuple[Reward, ...] = Field((Correct(kind="correct"),), min_length=1)
    engine: Literal["vllm", "vllm_server", "transformers"] = Field(
        "vllm", description="What samples: vLLM in this process or behind `vllm_server_base_url`."
    )

    @model_validator(mode="after")
    def _whole_groups(self) -> Reinforcement:
        if self.training.batch % self.group:
            raise ValueError(f"group {self.group} does not divide training.batch {self.training.batch}")
        return self

    @property
    def samples(self) -> bool:
        return self.difficulty is not None

    def make(self, job: Job) -> list[dict[str, Any]]:
        """The problems with their references.

        Raises:
            TrainingError: a problem has no answer.
        """
        assert self.problems is not None
        problems = load(self.problems)
        if self.difficulty is not None:
            least, most = self.difficulty
            sampled = job.sample(problems, "rollouts")
            rates = [mean([bool(s.right) for s in r.samples]) for r in sampled]
            problems = [p for p, rate in zip(problems, rates, strict=True) if least <= rate <= most]
        rows = []
        for problem in problems:
            if problem.answer is None:
                raise TrainingError(f"problem {problem.id} has no `answer` to compare with", param="problems")
            prompt = [m.model_dump() for m in problem.prompt]
            rows.append({"prompt": prompt, "answer": problem.answer, "problem": problem.id})
        return rows

    def _common(self, functions_weights: list[float]) -> dict[str, Any]:
        """Fields that TRL's configurations of both methods have."""
        batch, micro = self.training.batch, self.training.micro_batch
        return {
            "num_generations": self.group,
            "temperature": self.temperature,
            "max_completion_length": self.max_tokens,
            "steps_per_generation": batch // micro,
            "reward_weights": functions_weights,
            "use_vllm": self.engine != "transformers",
            "vllm_mode": "server" if self.engine == "vllm_server" else "colocate",
            "vllm_gpu_memory_utilization": 0.3,
        }

    def _parts(self, job: Job) -> dict[str, Any]:
        """The arguments that both trainers take; vLLM is made ready to be trained beside."""
        from accelerate import PartialState

        # TRL leaves out what does not fill a batch; with nothing else it would end without an update.
        needed = self.training.batch * PartialState().num_processes // self.group
        if len(job.rows) < needed:
            raise TrainingError(
                f"{len(job.rows)} problems are too few: an update takes {needed} (training.batch / group)",
                param="training.batch",
            )
        if self.engine == "vllm":
            from mull.training.colocate import make_ready

            make_ready()
        # The engine loads the weights by this name first; it gets the trained ones before each use.
        job.model.name_or_path = self.model
        return job.parts


class Grpo(Reinforcement):
    """Group relative policy optimization (arXiv:2402.03300) and what became of it."""

    recipe: Literal["grpo", "dapo", "dr_grpo", "gspo"]
    positive_weight: float = Field(
        1.0,
        ge=0,
        description="Factor of the advantages above zero. Below 1, samples stay varied: what is wrong gets "
        "rarer, what is right is not all that is left (W-REINFORCE, arXiv:2506.01347, has 0.1).",
    )

    def trainer(self, job: Job) -> Any:
        """TRL's `GRPOTrainer`, with the advantages weighted."""
        from trl import GRPOConfig

        from mull.training.recipes.weighted import WeightedGRPOTrainer
        from mull.training.rewards import build

        parts = self._parts(job)
        functions, weights = build(self.rewards, job.tokenizer)
        job.rewards = (functions, weights)
        # vLLM and the trainer compute the same weights; correcting for rounding costs a pass of the network.
        own = {"vllm_importance_sampling_correction": False, "beta": 0.0}
        args = job.arguments(GRPOConfig, **self._common(weights), **own, **LOSSES[self.recipe])
        weight = self.positive_weight
        return WeightedGRPOTrainer(positive_weight=weight, reward_funcs=functions, args=args, **parts)


class Rloo(Reinforcement):
    """REINFORCE with a leave-one-out baseline (Ahmadian et al. 2024, arXiv:2402.14740)."""

    recipe: Literal["rloo"]

    def trainer(self, job: Job) -> Any:
        """TRL's `RLOOTrainer`."""
        from trl import RLOOConfig, RLOOTrainer

        from mull.training.rewards import build

        parts = self._parts(job)
        functions, weights = build(self.rewards, job.tokenizer)
        job.rewards = (functions, weights)
        args = job.arguments(RLOOConfig, **self._common(weights))
        return RLOOTrainer(reward_funcs=functions, args=args, **parts)
