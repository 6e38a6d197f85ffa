# Thin aliases of the latte command. Each target sets up .venv when needed; `make PYTHON=python3.12` picks another Python.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LATTE := $(BIN)/latte
WORKERS ?= 2
ARGS ?=

.PHONY: help sim sweep test lint clean
.DEFAULT_GOAL := help

help:  ## List the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "latte needs Python 3.11 or newer; choose one with: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

sim: $(VENV)/ready  ## Simulate all embedded heads in RTL and compare every bit (ARGS='--config base')
	$(LATTE) sim $(ARGS)

sweep: $(VENV)/ready  ## Explore builds with the cycle model; Pareto front (ARGS='--confirm 2')
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[sweep]'
	$(LATTE) sweep $(ARGS)

test: $(VENV)/ready  ## Run all tests (ARGS='-k core')
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

lint: $(VENV)/ready  ## Check style and types
	$(BIN)/ruff check golden rtl sim fpga tests
	$(BIN)/mypy

clean:  ## Remove all output
	rm -rf build
