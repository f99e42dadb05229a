# Everything runs from the virtual environment, which scripts/install makes and keeps up to date.
VENV ?= .venv
export VENV

.DEFAULT_GOAL := help
.PHONY: help install dev serve test check bench fix package lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: ## install what serving needs into the virtual environment
	@scripts/install

dev: ## install what development needs too
	@scripts/install --dev

serve: install ## start the server on port 8000; ARGS="..." is passed to `mull serve`
	@exec $(VENV)/bin/mull serve $(ARGS)

test: dev ## run all tests; ARGS="..." is passed to pytest
	@$(VENV)/bin/python -m pytest $(ARGS)

bench: dev ## measure strategies on a running server; ARGS="problems.jsonl --run ... --out DIR"
	@$(VENV)/bin/mull bench $(ARGS)

check: dev ## lint, formatting and types
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

fix: dev ## let ruff repair and format what it can
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

package: dev ## build the wheel and the source archive into dist/
	@$(VENV)/bin/python -m build --no-isolation

lock: dev ## pin the requirements anew
	@$(VENV)/bin/python scripts/lock

clean: ## remove what tools leave behind, and the virtual environment
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
