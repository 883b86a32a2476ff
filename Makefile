# `make repro` and `make test` need Python >= 3.11, git and make; the rest they bring themselves.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# The stages run as plain `python`, which is to be the environment's.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help setup repro results test lint lock clean

help:   ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

setup: $(INSTALLED)   ## make .venv from the locked requirements

$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) else f"Expected Python 3.11, 3.12 or 3.13. Received: {v[0]}.{v[1]}. Name another: make PYTHON=python3.12")'
	@echo "Setting up .venv (once, some minutes) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

repro: setup   ## run the pipeline: every stage whose inputs changed
	@dvc repro --quiet
	@har results

results: setup   ## show the figures of the last run
	@har results

test: setup   ## run all tests
	@python -m pytest -q

lint: setup   ## check style
	@ruff check .
	@ruff format --check .

lock:   ## renew requirements.txt from pyproject.toml
	@uv pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes --no-header --output-file requirements.txt pyproject.toml

clean:   ## remove work in progress (outputs and the DVC cache stay)
	@rm -rf .work
