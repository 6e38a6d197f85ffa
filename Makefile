# Thin aliases of the latte command. Each target sets up .venv when needed; `make PYTHON=python3.12` picks another Python.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LATTE := $(BIN)/latte
WORKERS ?= 2
ARGS ?=
BOARD ?= ulx3s_25f

.PHONY: help sim bench sweep area timing bitstream figures report test lint clean
.DEFAULT_GOAL := help

help:  ## List the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "latte needs Python 3.11 or newer; choose one with: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,fpga]'
	touch $@

sim: $(VENV)/ready  ## Simulate all embedded heads in RTL and compare every bit (ARGS='--config base')
	$(LATTE) sim $(ARGS)

area: $(VENV)/ready  ## Count the cells of each hardware block (ARGS='--target ice40 --sweep')
	$(LATTE) area $(ARGS)

timing: $(VENV)/ready  ## Place and route a board's build: Fmax and critical path (BOARD=ulx3s_25f)
	$(LATTE) timing --board $(BOARD) $(ARGS)

bitstream: $(VENV)/ready  ## Build a board's bitstream (BOARD=ulx3s_25f)
	$(LATTE) bitstream --board $(BOARD) $(ARGS)

bench: $(VENV)/ready  ## LATTE and its dense baseline side by side: cycles, area, work, time (ARGS='--config base')
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(LATTE) bench $(ARGS)

sweep: $(VENV)/ready  ## Explore builds with the cycle model; Pareto front (ARGS='--confirm 2')
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[sweep]'
	$(LATTE) sweep $(ARGS)

figures: $(VENV)/ready  ## Plot attention maps, and what latte eval measured
	$(LATTE) figures $(ARGS)

report: $(VENV)/ready  ## Gather all results into build/report.html
	$(LATTE) report $(ARGS)

test: $(VENV)/ready  ## Run all tests (ARGS='-k core')
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

lint: $(VENV)/ready  ## Check style
	$(BIN)/ruff check golden rtl sim fpga tests

clean:  ## Remove all output
	rm -rf build
