"""Retrievers: what finds the passages that bear on a question. `mull.retrieval.config` builds them."""
