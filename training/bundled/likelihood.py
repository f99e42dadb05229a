"""The bundled likelihood verifier: the language model that the process reward model was trained with."""

from pathlib import Path

from mull.training.bundled.model import load, save


def export_solver(prm: Path, out: Path) -> None:
    """Write the network of the PRM in folder `prm` as a language model to `out`, its score head left out.

    The PRM's training keeps the language-model loss on correct prefixes, so its trunk goes on learning to
    solve; how likely it finds the tokens of a step is a verdict that needs no head.
    """
    save(load(prm), out, "lm")
