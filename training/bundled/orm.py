"""The outcome reward model: the process reward model, read once at the end."""

from pathlib import Path

from mull.training.bundled.model import Llama, load, save


def from_prm(prm: Llama) -> Llama:
    """The same network with one score, the difference of the two labels' scores.

    Its sigmoid is the probability of label 1 under the two-label softmax, so nothing is lost.
    """
    if prm.score is None:
        raise ValueError("the process reward model has no score head")
    model = Llama(prm.size, labels=1)
    weights = dict(prm.state_dict())
    bad, good = weights["score.weight"]
    model.load_state_dict(weights | {"score.weight": (good - bad)[None]})
    return model


def make_orm(out: Path, prm: Path) -> Llama:
    """Derive the ORM from the PRM in folder `prm`, and write it to `out`."""
    model = from_prm(load(prm))
    save(model, out, "sequence")
    return model
