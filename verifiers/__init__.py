"""Verifiers: models, rules and services that judge (partial) answers. `mull.verifiers.config` builds them."""
