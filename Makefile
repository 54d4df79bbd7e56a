# Needs make and Python 3.11 to 3.13, nothing else: every target makes the .venv it runs in.
# `make PYTHON=/path/to/python ...` names the interpreter to make it with.

PYTHON := python3 python3.13 python3.12 python3.11
BIN := .venv/bin
MADE := .venv/.made
EXTRA := $(if $(filter 1,$(GPU)),gpu,run)
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt

# Of tests that run beside each other, NumPy's threads wait for one another's cores: with one each, those of the analysis
# take a third of the processor's time.
TEST := OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: help install quickstart test test-fast test-exports keras-versions check chaos bench new-venv
.NOTPARALLEL:

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile

install: $(MADE)/$(EXTRA) ## make .venv with the command .venv/bin/hpsearch; GPU=1 adds the CUDA libraries

quickstart: install ## run a small search on this machine, to its end
	@$(BIN)/hpsearch quickstart

test: $(MADE)/dev ## run all tests
	@$(TEST) -n 3 --dist loadfile --no-loadscope-reorder
	@KERAS_BACKEND=jax $(TEST) -n 2 \
	  tests/training/backends/test_jax.py tests/training/backends/test_jax_cache.py tests/training/backends/test_steps.py tests/training/checks/test_gradient_check.py \
	  tests/training/images/test_streaming.py tests/training/user_models/test_building.py tests/training/user_models/test_fitting.py

test-fast: $(MADE)/dev ## run the tests that need no training and no browser, in under two minutes on two cores
	@$(TEST) -n 2 --dist loadfile -m "not tensorflow and not browser and not slow"

KERAS := $(addprefix build/keras/,3.6.0 3.10.0 3.14.0)
keras-versions: $(KERAS)
$(KERAS): | $(MADE)/dev
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --target $@ keras==$(@F)

test-exports: $(MADE)/dev $(KERAS) ## load exported models in older versions of Keras, which are installed into build/
	@CI=true $(BIN)/python -m pytest tests/evaluation/test_portable_exports.py

chaos: $(MADE)/dev ## run ten minutes of faults on four workers, then count (MINUTES=, SEED=, WORKERS=)
	@$(BIN)/python -m tests.fault_injection.chaos --minutes $(or $(MINUTES),10) --workers $(or $(WORKERS),4) $(if $(SEED),--seed $(SEED))

bench: $(MADE)/dev ## measure all of benchmarks/ and print the tables: half a day on two cores (QUICK=1: ten minutes, to see it work)
	@for each in responsiveness coordination training gpu memory image_memory image_files precision precision_choice batch_norm search answers answers_training ablation; do \
	  echo "# $$each" && $(BIN)/python benchmarks/$$each.py $(if $(QUICK),--quick) || exit; done

check: $(MADE)/dev ## run the linters and the type checker
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# A stamp for each way to install: to run (run), to train on GPUs (gpu), to test and check (dev). The project itself is
# installed editable, so a changed line of code needs no new install.
$(MADE)/run $(MADE)/gpu $(MADE)/dev: pyproject.toml constraints.txt
	@echo "Installing into .venv; the first time takes some minutes." >&2
	@mkdir -p $(MADE) && touch $(MADE)/begun
	@$(PIP) setuptools
	@$(PIP) --no-build-isolation --editable ".$(patsubst %,[%],$(filter-out run,$(@F)))"
	@pwd -P >$(MADE)/directory && rm $(MADE)/begun && touch $@

# Made anew: a .venv that is not there, that a stopped install left half-finished (begun), whose checkout was moved (its
# scripts name the old directory), or whose Python is gone.
USABLE := $(shell [ ! -e $(MADE)/begun ] && [ "$$(cat $(MADE)/directory 2>/dev/null || pwd -P)" = "$$(pwd -P)" ] \
  && $(BIN)/python -c 'import pip' 2>/dev/null && echo yes)
ifneq ($(USABLE),yes)
$(MADE)/run $(MADE)/gpu $(MADE)/dev: new-venv
endif

new-venv:
	@for python in $(PYTHON); do \
	  "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || continue; \
	  found=$$python; \
	  if "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	    rm -rf .venv && mkdir -p $(MADE) && touch $(MADE)/begun && exec "$$python" -m venv .venv; exit 1; \
	  fi; \
	done; \
	if [ -n "$$found" ]; then \
	  echo "$$found cannot make a virtual environment (it has no ensurepip): install what it lacks" \
	    "(Debian and Ubuntu: apt install python3-venv), then run make again" >&2; \
	else \
	  echo "hpsearch needs Python 3.11, 3.12 or 3.13, and none is here: install one" \
	    "(Debian and Ubuntu: apt install python3 python3-venv; macOS: brew install python@3.13)," \
	    "or name it: make PYTHON=/path/to/python" >&2; \
	fi; exit 1
