"""The network, its training loop and its sampler, on a model of a few thousand weights."""

import random
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
from torch import Tensor

from mull.training.bundled import sampler, tokenizer, verifier
from mull.training.bundled.loop import Schedule, train
from mull.training.bundled.model import Llama, Size, deepen, load, save
from mull.training.bundled.orm import from_prm
from mull.training.bundled.pretrain import LmBatch, head_start, lm_loss, lm_pool
from mull.training.bundled.problems import generate

VOCAB = 784
TINY = Size(width=32, layers=2, heads=2, feed_forward=48, vocab=VOCAB)


@pytest.fixture
def tiny() -> Llama:
    torch.manual_seed(0)
    return Llama(TINY)


def small_pool(pool: int, tokens: int) -> list[LmBatch]:
    return lm_pool(1, pool, tokens)[:2]


def run(folder: Path, *, resume: bool, until: int | None = None) -> dict[str, Tensor]:
    torch.manual_seed(0)
    model = train(
        Llama(TINY),
        pools=small_pool,
        loss_of=lm_loss,
        schedule=Schedule(total=20_000, decay=8_000, warmup=4_000),
        folder=folder,
        resume=resume,
        report=lambda tokens, loss, seconds: None,
        until=until,
    )
    return dict(model.state_dict())


def test_a_resumed_run_gives_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", resume=False)
    run(tmp_path / "parts", resume=True, until=6_000)
    resumed = run(tmp_path / "parts", resume=True)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_end_of_a_longer_run_is_not_taken_for_the_end_of_this_one(tmp_path: Path) -> None:
    run(tmp_path, resume=False)
    saved = torch.load(tmp_path / "last.pt", weights_only=True)
    torch.save({**saved, "tokens": 300_000}, tmp_path / "last.pt")
    with pytest.raises(ValueError, match="300000 tokens, not 20000"):
        run(tmp_path, resume=True)


def test_training_lowers_the_loss(tmp_path: Path, tiny: Llama) -> None:
    losses: list[float] = []
    train(
        tiny,
        pools=small_pool,
        loss_of=lm_loss,
        schedule=Schedule(total=30_000, decay=8_000, warmup=2_000, matrix_rate=5e-3, other_rate=5e-3),
        folder=tmp_path,
        resume=False,
        report=lambda tokens, loss, seconds: losses.append(loss),
    )
    assert losses[-1] < 0.7 * losses[0]


def test_the_schedule_warms_up_stays_and_falls() -> None:
    schedule = Schedule(total=1000, decay=400, warmup=100)
    assert schedule.factor(0) < 0.02
    assert schedule.factor(300) == schedule.factor(600) == 1.0
    assert 0.4 < schedule.factor(800) < 0.6
    assert schedule.factor(1000) == 0.02
    assert Schedule(total=1000, decay=0).factor(999_999) == 1.0


def test_pools_depend_on_their_number_only() -> None:
    for mine, again in zip(lm_pool(3, 5, 10**6), lm_pool(3, 5, 10**6), strict=True):
        assert torch.equal(mine.ids, again.ids)
        assert torch.equal(mine.weights, again.weights)


def test_padding_does_not_change_scores(tiny: Llama) -> None:
    rows = [tokenizer.prompt_ids(p.question) for p in generate(1, 5)]
    together = sampler.hidden_states(tiny, rows, "lm")
    for row, values in zip(rows, together, strict=True):
        assert torch.allclose(values, sampler.hidden_states(tiny, [row], "lm")[0], atol=1e-5)


def test_cached_sampling_agrees_with_whole_forward_passes(tiny: Llama) -> None:
    prompts = [tokenizer.prompt_ids(p.question) for p in generate(1, 4)]
    samples = sampler.sample(tiny, prompts, 2, 1.0, seed=3)
    rows = [p + s.ids for p, found in zip(prompts, samples, strict=True) for s in found]
    flat = [(p, s) for p, found in zip(prompts, samples, strict=True) for s in found]
    for (prompt, sample), values in zip(flat, sampler.hidden_states(tiny, rows, "lm"), strict=True):
        assert torch.allclose(values[len(prompt) :], torch.tensor(sample.logprobs), atol=1e-3)


def test_sampling_depends_on_the_seed_only(tiny: Llama) -> None:
    prompts = [tokenizer.prompt_ids("How many does Ada have?")]
    assert sampler.sample(tiny, prompts, 3, 1.0, seed=1) == sampler.sample(tiny, prompts, 3, 1.0, seed=1)
    assert sampler.sample(tiny, prompts, 3, 1.0, seed=1) != sampler.sample(tiny, prompts, 3, 1.0, seed=2)


def test_silent_layers_leave_the_function_as_it_is(tiny: Llama) -> None:
    ids = torch.tensor([tokenizer.prompt_ids("How many does Ada have?")])
    grown = deepen(tiny, 2, labels=2)
    assert torch.allclose(grown.hidden(ids), tiny.hidden(ids), atol=1e-5)


def test_orm_starts_as_the_difference_of_the_labels(tiny: Llama) -> None:
    ids = torch.tensor([tokenizer.prompt_ids("How many does Ada have?")])
    prm = deepen(tiny, 1, labels=2)
    assert prm.score is not None
    torch.nn.init.normal_(prm.score.weight)
    bad, good = prm.scores(prm.hidden(ids)).unbind(-1)
    orm = from_prm(prm)
    assert torch.allclose(orm.scores(orm.hidden(ids))[..., 0], good - bad, atol=1e-4)
    with pytest.raises(ValueError, match="no score head"):
        from_prm(tiny)


def test_related_tokens_start_as_neighbours(tiny: Llama) -> None:
    head_start(tiny, 0)
    table = tokenizer.piece_ids()

    def likeness(a: str, b: str) -> float:
        weight = tiny.embed_tokens.weight.detach()
        first, second = weight[table[a]], weight[table[b]]
        return float(torch.cosine_similarity(first, second, dim=0))

    assert likeness("Ada", " Ada") > 0.7 > likeness("Ada", " Ben")
    assert likeness("7", " 7") > 0.7


def test_the_verifier_learns_from_labelled_pools(tiny: Llama) -> None:
    solutions = [[verifier.synthetic(5, 0, random.Random(n)).solution for n in range(4)]]
    batch = verifier.verifier_pool(1, 0, solutions, 5, share=0.5)[0]
    model = deepen(tiny, 1, labels=2)
    before = verifier.process_loss(model, batch)
    before.backward()  # type: ignore[no-untyped-call]
    for weight in model.parameters():
        if weight.grad is not None:
            weight.data -= 0.05 * weight.grad
    assert verifier.process_loss(model, batch) < before


@pytest.mark.parametrize(("head", "labels"), [("lm", 0), ("token", 2), ("sequence", 1)])
def test_saved_models_load_in_transformers_and_here(
    tmp_path: Path, tiny: Llama, head: str, labels: int
) -> None:
    transformers = pytest.importorskip("transformers")
    model = deepen(tiny, 1, labels) if labels else tiny
    if model.score is not None:
        torch.nn.init.normal_(model.score.weight)
    kind = {"lm": "CausalLM", "token": "TokenClassification", "sequence": "SequenceClassification"}[head]
    save(model, tmp_path, head, 0.8 if head == "lm" else None)  # type: ignore[arg-type]
    theirs = (
        getattr(transformers, f"AutoModelFor{kind}").from_pretrained(tmp_path, dtype=torch.float32).eval()
    )
    mine = load(tmp_path)
    ids = torch.tensor([tokenizer.prompt_ids("How many does Ada have?")])
    with torch.no_grad():
        hidden = mine.hidden(ids)
        expected = mine.scores(hidden) if labels else mine.logits(hidden)
        found = theirs(ids).logits
    assert torch.allclose(found, expected[:, -1] if head == "sequence" else expected, atol=1e-4)
