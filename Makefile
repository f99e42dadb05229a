# Everything runs from the virtual environment, which scripts/install makes and keeps up to date.
VENV ?= .venv
export VENV

.DEFAULT_GOAL := help
.PHONY: help install dev serve test conformance check audit bench perf fix package lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: ## install what serving needs into the virtual environment
	@scripts/install

dev: ## install what development needs too
	@scripts/install --dev

serve: install ## start the server on port 8000; ARGS="..." is passed to `mull serve`
	@exec $(VENV)/bin/mull serve $(ARGS)

test: dev ## run all tests; ARGS="..." is passed to pytest
	@$(VENV)/bin/python -m pytest $(ARGS)

conformance: dev ## install the clients that mull is tested with, and run these tests; ARGS="..." as above
	@scripts/conformance
	@$(VENV)/bin/python -m pytest tests/conformance $(ARGS)

bench: dev ## measure strategies on a running server; ARGS="problems.jsonl --run ... --out DIR"
	@$(VENV)/bin/mull bench $(ARGS)

perf: dev ## measure mull against its engine and write docs/performance.md; ARGS="--only 1 2 --rounds 5"
	@$(VENV)/bin/python -m benchmarks.performance $(ARGS)

check: dev ## lint, formatting and types
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

audit: dev ## look for known vulnerabilities in what is pinned
	@$(VENV)/bin/python scripts/audit

fix: dev ## let ruff repair and format what it can
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

package: dev ## build the wheels and source archives, of the Python client too, into dist/
	@$(VENV)/bin/python -m build --no-isolation
	@$(VENV)/bin/python -m build --no-isolation --outdir dist clients/python

lock: dev ## pin the requirements anew
	@$(VENV)/bin/python scripts/lock

clean: ## remove what tools leave behind, and the virtual environments
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -rf .venv-conformance .venv-neighbours $(addprefix clients/typescript/,node_modules build dist)
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
