# Two commands for a newcomer: `make demo` and `make test`. Everything lives in .venv; nothing else is touched.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PEERS  := .venv-peers

.DEFAULT_GOAL := help
.PHONY: help setup demo test bench lint types lock clean

help:            ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: $(READY)  ## .venv with the locked set

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 13) else f"Python 3.11 or 3.12 is needed, this is {sys.version.split()[0]}: make PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip sync --quiet --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $(READY)

demo: $(READY)   ## a simulated cohort, every strategy, the table
	$(BIN)/unseen run experiments/studies/demo.yaml

test: $(READY)   ## all tests, on all cores
	$(BIN)/python -m pytest -n auto --dist loadgroup

bench: $(PEERS)/.ready  ## speed against peers, who live in an environment of their own
	$(BIN)/python -m tests.performance $(BENCH)

$(PEERS)/.ready: $(READY) tests/performance/peers.lock
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(BIN)/uv pip sync --quiet --python $(PEERS)/bin/python tests/performance/peers.lock
	touch $@

lint: $(READY)   ## ruff and the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(READY)  ## mypy, strict
	$(BIN)/mypy

lock: $(READY)   ## renew requirements.lock (no addresses in it)
	$(BIN)/uv pip compile --quiet --universal --upgrade --extra dev --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-header --output-file requirements.lock pyproject.toml

clean:           ## remove the environments
	rm -rf $(VENV) $(PEERS)
