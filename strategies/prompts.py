"""Texts with gaps."""

from __future__ import annotations

import re
from itertools import permutations


def fill(template: str, **values: str) -> str:
    """The template with each `{name}` replaced by its value, in one pass.

    Braces in values, and those in the template that enclose none of the names, stay as they are.
    """
    names = "|".join(map(re.escape, values))
    return re.sub(rf"\{{({names})\}}", lambda found: values[found[1]], template) if values else template


def holding(*names: str) -> str:
    """A regular expression that templates match which have all of these gaps, for a parameter's `pattern`."""
    orders = permutations(rf"\{{{name}\}}" for name in names)
    return "|".join(r"[\s\S]*".join(order) for order in orders)
