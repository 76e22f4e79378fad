# make demo    a model is trained, committed, checked out and rolled back, before your eyes
# make test    formatting, linting, types, layers, tests
# make torture many more kills and random histories
# make bench   the figures in docs/benchmarks.md, measured on this machine

VENV   ?= .venv
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test torture bench clean

demo: $(VENV)/.pvc
	$(BIN)/pvc demo

test: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/pytest -m "not gpu and not live and not torture"

torture: $(VENV)/.dev
	$(BIN)/pytest -m "torture"

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.store

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "pvc needs Python 3.11 or newer; set PYTHON=/path/to/it" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.pvc: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@ $(VENV)/.pvc

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
