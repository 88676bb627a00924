# `make demo` and `make test` need Python 3.11 or newer and nothing else. Each makes .venv if it is missing or not
# current. Pass arguments in ARGS: make demo ARGS="--once --report demo.json"
.DEFAULT_GOAL := help
.PHONY: help demo up down test lint types bench soak lock clean
ARGS ?=
BIN := .venv/bin
export PYTHON

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  Arguments: make demo ARGS=--once     make test ARGS="-k kafka -x"'

demo: run-env ## Play a live broadcast through the whole stack, and check every figure
	@$(BIN)/fanpulse demo $(ARGS)

up: run-env ## Start the local stack in the background
	@$(BIN)/fanpulse up --detach $(ARGS)

down: run-env ## Stop the local stack
	@$(BIN)/fanpulse down $(ARGS)

test: dev-env ## Run all tests, on real brokers, in two processes
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

soak: dev-env ## Play 300 seeds of the fault suite, within an hour; ARGS="--seed 17" plays one
	@$(BIN)/python -m pytest tests/faults --seeds 300 $(ARGS)

lint: dev-env ## Check style and import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

types: dev-env ## Check types
	@$(BIN)/mypy $(ARGS)

bench: dev-env ## Measure throughput, each figure beside its baseline
	@$(BIN)/python -m bench $(ARGS)

lock: dev-env ## Rewrite the lock files; ARGS=--upgrade takes the newest versions
	@requirements/lock $(ARGS)

clean: ## Remove .venv and caches; keep the data of stacks
	@rm -rf .venv dist .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: run-env dev-env
run-env:
	@requirements/sync run

dev-env:
	@requirements/sync dev
