"""Guards: when they stop, what they keep, and that a kill costs them nothing."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

pytest.importorskip("trl")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerControl, TrainerState

from mull.training.data.problems import Generated, ProblemSource, load
from mull.training.data.rows import Problem
from mull.training.errors import TrainingError
from mull.training.guards import Forgetting, Guards, Hacking, attach
from mull.training.guards.callback import Guard
from mull.training.guards.decide import Measurement, best, forgotten, parted
from mull.training.guards.forgetting import ForgettingGuard
from mull.training.guards.greedy import greedy
from mull.training.guards.hacking import RewardHackingGuard
from mull.training.guards.solve import right, solve
from mull.training.rollouts import messages

POLICY = Path(__file__).parents[2] / "models" / "policy"
PROBLEMS = 100


def _source(seed: int, count: int) -> ProblemSource:
    return ProblemSource(generate=Generated(seed=seed, count=count, max_steps=4))


def _ones(share: float) -> list[float]:
    """That share of the problems is solved."""
    right = round(share * PROBLEMS)
    return [1.0] * right + [0.0] * (PROBLEMS - right)


def _series(true: Sequence[float], proxy: Sequence[float], spread: float = 0.0) -> list[Measurement]:
    """Rewards with these means; the proxy's differ between problems in a way that changes with the step."""
    return [
        Measurement(
            10 * n,
            {
                "true": _ones(t),
                "proxy": [p + spread * math.sin(7.0 * i * (n + 1)) for i in range(PROBLEMS)],
            },
        )
        for n, (t, p) in enumerate(zip(true, proxy, strict=True))
    ]


@pytest.mark.parametrize(
    ("true", "proxy", "stop"),
    [
        ([0.7, 0.8, 0.7, 0.6], [0.1, 0.2, 0.3, 0.4], True),  # overoptimisation
        ([0.7, 0.6, 0.5], [0.1, 0.2, 0.3], True),  # from the first update on
        ([0.7, 0.8, 0.6, 0.8], [0.1, 0.2, 0.3, 0.4], False),  # it recovers
        ([0.7, 0.8, 0.6], [0.1, 0.2, 0.3], False),  # seen once only
        ([0.7, 0.8, 0.7, 0.6], [0.1, 0.4, 0.3, 0.2], False),  # both fall: no hacking
        ([0.7, 0.8, 0.78, 0.76], [0.1, 0.2, 0.3, 0.4], False),  # within the margin
        ([0.5, 0.6, 0.7, 0.8], [0.1, 0.2, 0.3, 0.4], False),  # both rise
        ([0.7], [0.1], False),
    ],
)
def test_stops_where_true_and_proxy_reward_part(true: list[float], proxy: list[float], stop: bool) -> None:
    assert parted(_series(true, proxy), window=2, margin=0.05, noise=2) is stop


def test_a_rise_within_the_noise_is_none() -> None:
    true, proxy = [0.8, 0.6, 0.5], [0.1, 0.12, 0.12]
    assert parted(_series(true, proxy, spread=0.0), window=2, margin=0.05, noise=2)
    assert not parted(_series(true, proxy, spread=0.5), window=2, margin=0.05, noise=2)


def test_the_first_of_equal_peaks_is_the_best() -> None:
    assert best(_series([0.5, 0.8, 0.8, 0.6], [0.0] * 4)) == 1


def _accuracies(**tasks: Sequence[float]) -> list[Measurement]:
    length = len(next(iter(tasks.values())))
    return [Measurement(n, {name: _ones(v[n]) for name, v in tasks.items()}) for n in range(length)]


def test_forgotten_is_what_fell_by_more_than_allowed() -> None:
    series = _accuracies(a=(0.9, 0.95, 0.85), b=(0.6, 0.2, 0.54), c=(0.5, 0.5, 0.9))
    assert forgotten(series, max_drop=0.05) == ["b"]
    assert forgotten(series[:2], max_drop=0.05) == ["b"]
    assert forgotten(series, max_drop=0.1) == []


class Scripted(Guard):
    """Keeps the weights of the highest value; stops below .3."""

    name = "scripted"

    def __init__(self, values: Sequence[float], folder: Path) -> None:
        self.logged: list[dict[str, float]] = []
        super().__init__(10, None, folder, self.logged.append)
        self.values = values

    def measure(self, model: Any, bf16: bool) -> dict[str, list[float]]:
        return {"true": [self.values[int(model.weight.item())]]}

    def safe(self) -> int:
        return best(self.series)

    def verdict(self) -> str | None:
        return "low" if self.series[-1].mean("true") < 0.3 else None

    def draw(self, path: Path) -> None:
        path.touch()


class Loop:
    """What the trainer does around a guard: the only weight counts the tens of updates."""

    def __init__(self, guard: Guard, start: int = 0) -> None:
        self.guard, self.state, self.control = guard, TrainerState(global_step=start), TrainerControl()
        self.args: Any = SimpleNamespace(bf16=False)
        self.model = torch.nn.Linear(1, 1, bias=False)
        self._set()
        guard.on_train_begin(self.args, self.state, self.control, model=self.model)

    def _set(self) -> None:
        torch.nn.init.constant_(self.model.weight, self.state.global_step // 10)

    def run(self, until: int, save_every: int = 1000) -> None:
        while self.state.global_step < until and not self.control.should_training_stop:
            self.state.global_step += 1
            self._set()
            self.guard.on_step_end(self.args, self.state, self.control, model=self.model)
            if self.state.global_step % save_every == 0:
                self.guard.on_save(self.args, self.state, self.control)

    def end(self) -> float:
        self.guard.on_train_end(self.args, self.state, self.control, model=self.model)
        return self.model.weight.item()


def test_a_stop_brings_back_the_best_weights(tmp_path: Path) -> None:
    guard = Scripted([0.5, 0.9, 0.6, 0.2, 0.8], tmp_path)
    loop = Loop(guard)
    loop.run(100)
    assert loop.state.global_step == 30
    assert loop.end() == 1
    written = json.loads((tmp_path / "scripted.json").read_text())
    assert (written["stopped"], written["kept"]) == ("low", 10)
    assert (tmp_path / "scripted.png").exists()
    assert guard.logged == [{"scripted/true": v} for v in (0.5, 0.9, 0.6, 0.2)]


def test_without_a_stop_the_last_weights_stay(tmp_path: Path) -> None:
    loop = Loop(Scripted([0.5, 0.9, 0.6], tmp_path))
    loop.run(25)
    assert loop.end() == 2
    assert json.loads((tmp_path / "scripted.json").read_text())["stopped"] is None


@pytest.mark.parametrize("killed", [16, 21, 29])
def test_a_kill_changes_nothing(tmp_path: Path, killed: int) -> None:
    values = [0.5, 0.9, 0.95, 0.2]
    Loop(Scripted(values, tmp_path)).run(killed, save_every=15)
    guard = Scripted(values, tmp_path)
    loop = Loop(guard, start=15)
    loop.run(100, save_every=15)
    assert loop.end() == 2
    assert [m.step for m in guard.series] == [0, 10, 20, 30]
    assert [m.mean("true") for m in guard.series] == values


def test_weights_of_a_later_best_do_not_replace_those_of_a_checkpoint(tmp_path: Path) -> None:
    """Killed after a better measurement that the resumed training does not repeat."""
    Loop(Scripted([0.5, 0.9, 0.95], tmp_path)).run(25, save_every=15)
    loop = Loop(Scripted([0.5, 0.9, 0.4, 0.2], tmp_path), start=15)
    loop.run(100)
    assert loop.end() == 1


def test_checkpoints_leave_one_set_of_weights(tmp_path: Path) -> None:
    Loop(Scripted([0.5, 0.6, 0.7, 0.8], tmp_path)).run(30, save_every=30)
    assert [p.name for p in tmp_path.glob("*.safetensors")] == ["scripted-30.safetensors"]


def test_sharded_models_are_refused(tmp_path: Path) -> None:
    loop = Loop(Scripted([0.5], tmp_path))
    loop.model.weight.ds_id = 0  # type: ignore[attr-defined]
    with pytest.raises(TrainingError, match="sharded"):
        loop.guard.on_train_begin(loop.args, loop.state, loop.control, model=loop.model)


def _guard(kind: Callable[..., Guard], settings: Any, *parts: Any, folder: Path) -> Guard:
    return kind(settings, *parts, tokenizer=None, folder=folder, log=lambda _: None)


def test_problems_without_answers_are_named(tmp_path: Path) -> None:
    problem = Problem.model_validate({"id": "p7", "question": "?"})
    hacking = Hacking(problems=ProblemSource(file=Path("x")))
    with pytest.raises(TrainingError, match=r"guards\.hacking\.problems: problem p7 has no `answer`"):
        _guard(RewardHackingGuard, hacking, [problem], None, folder=tmp_path)
    forgetting = Forgetting(tasks={"old": ProblemSource(file=Path("x"))})
    with pytest.raises(TrainingError, match=r"guards\.forgetting\.tasks\.old"):
        _guard(ForgettingGuard, forgetting, {"old": [problem]}, folder=tmp_path)


def test_forgetting_keeps_the_last_weights_that_forgot_nothing(tmp_path: Path) -> None:
    guard = _guard(ForgettingGuard, Forgetting(tasks={"a": _source(1, 1)}), {"a": []}, folder=tmp_path)
    guard.series = _accuracies(a=(0.9, 0.88, 0.6))
    assert guard.safe() == 1
    assert guard.verdict() == "forgetting: a fell from 0.900 to 0.600"
    guard.draw(tmp_path / "forgetting.png")
    assert (tmp_path / "forgetting.png").stat().st_size > 1000


@pytest.mark.parametrize(
    "section", [{}, {"hacking": {"problems": {"file": "x"}, "window": 0}}, {"forgetting": {"tasks": {}}}]
)
def test_wrong_sections_are_refused(section: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Guards.model_validate(section)


def _trainer(**columns: Any) -> Any:
    args = SimpleNamespace(output_dir="x/checkpoints")
    model = SimpleNamespace(generate=print)
    return SimpleNamespace(args=args, model=model, processing_class=None, train_dataset=columns)


def test_what_is_trained_on_tells_nothing_about_hacking() -> None:
    guards = Guards(hacking=Hacking(problems=_source(36, 3)))
    known = [messages(p.prompt) for p in load(_source(36, 1))]
    with pytest.raises(TrainingError, match=r"guards\.hacking\.problems: 1 are in the training data, 36-0"):
        attach(_trainer(prompt=known), guards, [lambda **_: []], [1.0])  # type: ignore[list-item]


def test_verifiers_have_no_guards() -> None:
    trainer = _trainer()
    trainer.model = SimpleNamespace()
    with pytest.raises(TrainingError, match="language models"):
        attach(trainer, Guards(hacking=Hacking(problems=_source(36, 3))))


def test_a_recipe_without_rewards_has_none_to_hack() -> None:
    with pytest.raises(TrainingError, match="optimises no reward"):
        attach(_trainer(), Guards(hacking=Hacking(problems=_source(36, 3))))


@pytest.fixture(scope="module")
def policy() -> tuple[Any, Any]:
    model = AutoModelForCausalLM.from_pretrained(POLICY, dtype=torch.float32, attn_implementation="eager")
    return model, AutoTokenizer.from_pretrained(POLICY)


def test_greedy_answers_do_not_depend_on_the_batch(policy: tuple[Any, Any]) -> None:
    model, tokenizer = policy
    prompts = [messages(p.prompt) for p in load(_source(31, 8))]
    model.train()
    before = torch.get_rng_state()
    together = greedy(model, tokenizer, prompts, max_tokens=120)
    alone = [greedy(model, tokenizer, [p], max_tokens=120)[0] for p in prompts]
    assert model.training
    assert torch.equal(before, torch.get_rng_state())
    assert together == alone
    assert all(a.ended and a.ids[-1] == tokenizer.eos_token_id for a in together)
    short = greedy(model, tokenizer, prompts, max_tokens=5)
    assert [a.ids for a in short] == [a.ids[:5] for a in together]
    assert not any(a.ended for a in short)


def test_true_reward_is_for_whole_right_answers(policy: tuple[Any, Any]) -> None:
    problems = load(_source(32, 32))
    found = solve(*policy, problems, 150, bf16=True)
    assert 0.5 < sum(right(problems, found)) / len(found) <= 1
    others = [p.model_copy(update={"answer": "-1"}) for p in problems]
    assert sum(right(others, found)) == 0
    assert sum(right(problems, solve(*policy, problems, 5, bf16=True))) == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hacked_reward_is_noticed_and_undone(tmp_path: Path) -> None:
    """Rewarded for brevity alone, the policy stops solving problems."""
    from mull.training.job import Job
    from mull.training.recipes.reinforce import Grpo

    recipe = Grpo.model_validate(
        {
            "recipe": "grpo",
            "model": str(POLICY),
            "output": tmp_path,
            "problems": {"generate": {"seed": 33, "count": 64, "max_steps": 4}},
            "group": 8,
            "max_tokens": 80,
            "engine": "transformers",
            "rewards": [{"kind": "length", "limit": 80, "margin": 80}],
            "training": {
                "batch": 32,
                "micro_batch": 32,
                "learning_rate": 1e-3,
                "steps": 40,
                "schedule": "constant",
            },
        }
    )
    job = Job(recipe=recipe)
    job.rows = recipe.make(job)
    trainer = recipe.trainer(job)
    guards = Guards(
        hacking=Hacking(problems=_source(34, 32), every=2, max_tokens=80),
        forgetting=Forgetting(tasks={"one": _source(35, 16)}, every=2, max_tokens=80, max_drop=0.9),
    )
    attach(trainer, guards, trainer.reward_funcs, [1.0])
    trainer.train()
    written = json.loads((tmp_path / "guards" / "hacking.json").read_text())
    assert trainer.state.global_step < 40
    assert "reward hacking" in written["stopped"]
    assert (tmp_path / "guards" / "hacking.png").exists()
    problems = load(_source(34, 32))
    found = solve(trainer.model, trainer.processing_class, problems, 80, bf16=True)
    true = {m["step"]: m["values"]["true"] for m in written["series"]}
    assert right(problems, found) == true[written["kept"]]
    assert sum(true[written["kept"]]) > sum(written["series"][-1]["values"]["true"])
    assert any("hacking/true" in entry for entry in trainer.state.log_history)
