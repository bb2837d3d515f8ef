# The verbs of daily life. `make help` prints them.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run test setup format lint types layers check bench schema image clean

VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PLUGINS := $(wildcard plugins/*/pyproject.toml)
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest
ENGINE ?= docker
TAG ?= secretd

# The first Python that is new enough; PYTHON=… chooses another.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

export ONCE

help: ## print this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: $(STAMP) ## start a dev daemon on an embedded PostgreSQL and show the main job (ONCE=1: then exit)
	@$(BIN)/python -m secretd.server.story

test: $(STAMP) ## the whole test-suite (ARGS=… goes to pytest)
	@$(PYTEST) -n $(WORKERS) $(ARGS)

setup: $(STAMP) ## make .venv from the lock file
	@echo "$(VENV) is ready"

format: $(STAMP) ## put the code in its shape
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format --quiet .

lint: $(STAMP) ## ruff: rules and shape
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP) ## mypy, strict
	@$(BIN)/mypy

layers: $(STAMP) ## which way imports point
	@$(BIN)/lint-imports --no-logo

check: lint types layers ## all that CI runs but the slow suites
	@$(PYTEST) -q -n $(WORKERS) -m "not containers and not crash and not conformance" $(ARGS)

bench: $(STAMP) ## measure the daemon beside OpenBao
	@$(BIN)/python tests/bench/run.py $(ARGS)

schema: $(STAMP) ## prove that schema.sql says what the migrations make
	@$(PYTEST) -q tests/storage/test_migrate.py -k schema

image: $(STAMP) ## build the container image (ENGINE=docker, TAG=secretd)
	@rm -rf build/wheels && mkdir -p build/wheels
	@.ci/wheels build/wheels $(BIN)/python
	@$(ENGINE) build -f Containerfile -t $(TAG) .

clean: ## remove what make and the tests have made
	@rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find secretd plugins tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Hashes cover everything that is downloaded; the packages of this repository are linked, not downloaded, and built
# with the hatchling of the lock file (hence no build isolation).
$(STAMP): requirements.lock pyproject.toml $(PLUGINS)
	@test -n "$(PYTHON)" || { \
		echo "secretd needs Python 3.11 or newer with its venv module, and found none." >&2; \
		echo "Install it (Debian: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python3.11" >&2; \
		exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@rm -f $(STAMP)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation \
		$(foreach folder,. $(patsubst %/pyproject.toml,%,$(PLUGINS)),-e ./$(folder))
	@touch $(STAMP)
