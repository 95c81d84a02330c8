# Two commands matter: `make demo` and `make test`; `make studio` and `make control` show the rest. All work on a fresh
# clone with Python >= 3.11 and nothing else.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo studio control test check lint format packages clean

BIN := .venv/bin
ARGS ?=
JOBS ?= 2
PYTHON ?=
CANDIDATES := $(or $(PYTHON),python3.13 python3.12 python3.11 python3)
USABLE := import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

help: ## list the commands
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

demo: .venv/demo.stamp ## install what is needed and run the whole loop (options: ARGS="--human")
	$(BIN)/backflip demo $(ARGS)

studio: .venv/studio.stamp ## install what is needed and open the site where people rank (options: ARGS="--port 8765")
	$(BIN)/backflip studio $(ARGS)

control: .venv/control.stamp ## install what is needed and let a robot learn from comparisons (options: ARGS="--human")
	$(BIN)/backflip control demo $(ARGS)

test: packages .venv/test.stamp ## install what is needed; lint, types, import floors and tests
	@$(MAKE) --no-print-directory lint check

# One thread a worker: two workers on two cores gain more than two threads in one, and sums keep their order.
check: .venv/test.stamp ## the tests alone
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --dist worksteal --durations 15 $(ARGS)

lint: .venv/test.stamp ## style, types and import floors
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/test.stamp ## put the code into house style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

packages: ## the Debian packages that tests need: installed with CI=true as root, else named
	@.ci/packages

clean: ## delete caches and builds (not .venv, not runs)
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -path ./.venv -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf

.venv/bin/python:
	@for python in $(CANDIDATES); do \
	  if "$$python" -c '$(USABLE)' 2>/dev/null; then \
	    echo "making .venv with $$("$$python" --version)"; exec "$$python" -m venv .venv; \
	  fi; \
	done; \
	echo 'no usable Python among: $(CANDIDATES); wanted 3.11 or newer with venv;' \
	  'install one (on Debian: python3 and python3-venv) or name it: make PYTHON=/path/to/python' >&2; exit 1

# The stamps follow the files that say what to install: a second run installs nothing.
.venv/demo.stamp: pyproject.toml constraints.txt | .venv/bin/python
	@echo 'installing Backflip and the packages of the demo into .venv'
	$(INSTALL) -e '.[demo,tensorboard]'
	@touch $@

.venv/studio.stamp: pyproject.toml constraints.txt | .venv/bin/python
	@echo 'installing Backflip and the packages of the studio into .venv'
	$(INSTALL) -e '.[demo,studio]'
	@touch $@

.venv/control.stamp: pyproject.toml constraints.txt | .venv/bin/python
	@echo 'installing Backflip and the packages of control into .venv'
	$(INSTALL) -e '.[demo,studio,control]'
	@touch $@

.venv/test.stamp: pyproject.toml constraints.txt | .venv/bin/python
	@echo 'installing Backflip and the packages of the tests into .venv'
	$(INSTALL) -e '.[dev]'
	@touch $@ .venv/demo.stamp .venv/studio.stamp .venv/control.stamp
