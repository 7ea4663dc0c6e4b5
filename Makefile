# The two commands: `make run` and `make test`. Both set up everything they need.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready-$(shell cat requirements.lock deploy/bootstrap.lock pyproject.toml 2>/dev/null | cksum | cut -d' ' -f1)

.PHONY: run test test-all bench faults lint types floors lock clean setup

run: setup
	@$(BIN)/leadline up --demo

test: setup
	@$(BIN)/python -m pytest -n 2 -m "not slow" $(ARGS)

test-all: setup
	@$(BIN)/python -m pytest -n 2 $(ARGS)

bench: setup
	@$(BIN)/python -m bench $(ARGS)

faults: setup
	@$(BIN)/python -m pytest tests/platform/test_faults.py tests/monitor/test_kills.py \
	  tests/inference/test_kill.py tests/gateway/test_redis_away.py $(ARGS)

lint: setup
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: setup
	@$(BIN)/mypy

floors: setup
	@$(BIN)/lint-imports --no-cache

setup: $(READY)

$(READY): requirements.lock deploy/bootstrap.lock pyproject.toml
	@bash deploy/setup.sh "$(PYTHON)" "$(VENV)"
	@touch $@

lock: setup
	@bash deploy/lock.sh "$(BIN)"

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
