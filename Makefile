# Thin aliases of the latte command. Each target sets up .venv when needed; `make PYTHON=python3.12` picks another Python.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LATTE := $(BIN)/latte
TYPES := build/types
WHEEL := build/wheel
WORKERS ?= 2
ARGS ?=
BOARD ?= ulx3s_25f

.PHONY: help models sim fuzz coverage formal mutation bench sweep area timing bitstream figures report test slow wheel lint types clean
.DEFAULT_GOAL := help

help:  ## List the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "latte needs Python 3.11 or newer; choose one with: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,fpga,formal]'
	touch $@

sim: $(VENV)/ready  ## Simulate all embedded heads in RTL and compare every bit (ARGS='--config base')
	$(LATTE) sim $(ARGS)

fuzz: $(VENV)/ready  ## Run random programs on random builds for ten minutes (ARGS='--minutes 60', ARGS=--pairwise)
	$(LATTE) fuzz $(ARGS)

coverage: $(VENV)/ready  ## Measure branches, toggles and points of the plan that programs reach (ARGS=--full)
	$(LATTE) coverage $(ARGS)

formal: $(VENV)/ready  ## Prove properties of hardware blocks (ARGS='--block StreamQueue')
	$(LATTE) formal $(ARGS)

mutation: $(VENV)/ready  ## Put faults into blocks and see whether their tests find them (ARGS='--block softmax')
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[sweep]'
	$(LATTE) mutation $(ARGS)

area: $(VENV)/ready  ## Count the cells of each hardware block (ARGS='--target ice40 --sweep')
	$(LATTE) area $(ARGS)

timing: $(VENV)/ready  ## Place and route a board's build: Fmax and critical path (BOARD=ulx3s_25f)
	$(LATTE) timing --board $(BOARD) $(ARGS)

bitstream: $(VENV)/ready  ## Build a board's bitstream (BOARD=ulx3s_25f)
	$(LATTE) bitstream --board $(BOARD) $(ARGS)

bench: $(VENV)/ready  ## What AXI costs; LATTE and its dense baseline: cycles, area, work, time (ARGS='--config base')
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(LATTE) interface
	$(LATTE) bench $(ARGS)

sweep: $(VENV)/ready  ## Explore builds with the cycle model; Pareto front (ARGS='--confirm 2')
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[sweep]'
	$(LATTE) sweep $(ARGS)

figures: $(VENV)/ready  ## Plot attention maps, and what latte eval measured
	$(LATTE) figures $(ARGS)

report: $(VENV)/ready  ## Gather all results into build/report.html
	$(LATTE) report $(ARGS)

models: $(VENV)/ready  ## Install every extra: whole models, benchmark, sweep, packages; make test then tests them, too
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[models,bench,sweep,package]'

test: $(VENV)/ready  ## Run the tests (ARGS='-k core')
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m 'not slow' $(ARGS)

slow: $(VENV)/ready  ## Run the other tests: more builds, lengths and stalls
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m slow $(ARGS)

wheel: $(VENV)/ready  ## Build a wheel and test it outside the tree, installed alone beside the same packages
	rm -rf $(WHEEL) && mkdir -p $(WHEEL)
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir $(WHEEL) .
	$(PYTHON) -m venv --without-pip $(WHEEL)/venv
	$(BIN)/python -m pip --python $(WHEEL)/venv/bin/python install --quiet --disable-pip-version-check --no-deps $(WHEEL)/*.whl
	$(BIN)/python -c 'import numpy, pathlib; print(pathlib.Path(numpy.__file__).parent.parent)' \
	  > $$($(WHEEL)/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/packages.pth
	cp -R tests $(WHEEL)/tests
	cd $(WHEEL) && venv/bin/python -c 'import latte.golden, sys; assert latte.golden.__file__.startswith(sys.prefix)'
	cd $(WHEEL) && venv/bin/python -m pytest -q -c /dev/null -o markers=slow --rootdir . -p no:cacheprovider tests/test_installed.py

lint: $(VENV)/ready  ## Check style
	$(BIN)/ruff check golden rtl sim fpga tests

types: $(VENV)/ready  ## Check the types of golden and sim
	mkdir -p $(TYPES)/latte
	for folder in golden rtl sim fpga; do ln -sfn ../../../$$folder $(TYPES)/latte/$$folder; done
	$(BIN)/mypy

clean:  ## Remove all output
	rm -rf build
