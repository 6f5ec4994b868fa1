# Everything runs inside .venv, which the first target that needs it creates; `make help` lists the targets.

PYTHON ?= python3
BIN := .venv/bin
SOURCES := $(wildcard src tests benchmarks examples docs/hooks)

# Where bytecode is not kept, every process compiles anew what it imports, and the tests start many.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test lint docs bench vllm-loop torture exports clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.report ## train the embedded reasoner in two phases on this machine, then write its report
	@echo "demo: both phases on the embedded reasoner, then the report, all under runs/demo"
	@$(BIN)/laconic demo --out runs/demo

test: lint ## lint, then the whole suite once, then the coverage of the pure packages
	@echo "test: running the whole suite and every doctest, one process for each core"
	@$(BIN)/pytest tests src --numprocesses=auto --dist=loadscope $$($(BIN)/python tests/house.py) --cov-report=
	@echo "test: lines of the pure packages that no test reached (at least 95% must be reached)"
	@$(BIN)/coverage report --skip-covered --show-missing --fail-under=95

lint: .venv/.dev ## style, formatting and types
	@echo "lint: ruff check, ruff format, mypy"
	@$(BIN)/ruff check --quiet $(SOURCES)
	@$(BIN)/ruff format --quiet --check $(SOURCES) || { $(BIN)/ruff format --diff $(SOURCES); exit 1; }
	@$(BIN)/mypy

docs: .venv/.dev ## the site: every page and the reference, into site/; a broken link is an error
	@echo "docs: building site/index.html"
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: .venv/.dev ## speed and memory, side by side with what one would pick instead
	@test -f benchmarks/run.py || { echo "bench: benchmarks/run.py does not exist"; exit 1; }
	@echo "bench: measuring speed and memory (keep the machine idle meanwhile)"
	@$(BIN)/python benchmarks/run.py

vllm-loop: .venv/.dev ## two phases drawn by a vLLM server beside the local sampler, three seeds (benchmarks/peers.sh vllm first)
	@$(BIN)/python benchmarks/vllm_loop.py

torture: .venv/.dev ## kills, mistakes and damage by the hundred (under an hour); fails where one of them finds a fault
	@echo "torture: trying to break it; the table goes to benchmarks/torture.md"
	@$(BIN)/python benchmarks/torture.py --table benchmarks/torture.md

exports: ## hold exports against verl, lm-eval and inspect_ai, each in the environment that benchmarks/peers.sh makes
	@benchmarks/peers.sh verl lm_eval inspect
	@echo "exports: verl's config, data set, rewards, advantages and losses"
	@PYTHONPATH=src benchmarks/.peers/verl/bin/python benchmarks/verl_check.py
	@echo "exports: lm-eval and inspect_ai"
	@PYTHONPATH=src benchmarks/.peers/lm_eval/bin/python -m pytest -q -p no:cacheprovider tests/integrations/test_lm_eval_task.py
	@PYTHONPATH=src benchmarks/.peers/inspect/bin/python -m pytest -q -p no:cacheprovider tests/integrations/test_inspect_logs.py

clean: ## remove caches and build output; runs/ and .venv/ stay
	@rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage build dist site src/*.egg-info
	@find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# The demo needs the extra `report`, everything else the extra `dev`, which holds `report`.
# Nothing is compiled on installation: of 17,500 modules a command imports 3,900 at most, and Python compiles those as it does.
.venv/.report .venv/.dev: .venv/.%: pyproject.toml constraints.txt
	@test -x $(BIN)/python || { echo "setup: creating .venv"; $(PYTHON) -m venv .venv; }
	@echo "setup: installing laconic[$*] into .venv (minutes the first time)"
	@$(BIN)/pip install -qq --no-compile --disable-pip-version-check -c constraints.txt -e '.[$*]'
	@touch .venv/.report $@
