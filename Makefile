# The two main commands: make train, make test. Every target creates .venv at its first use.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

STYLE ?= starry_night
# This photo is a validation photo of the recipe quick.
PHOTO ?= docs/photos/coffee.jpg

# Test processes; each takes one core and up to 8 GB of memory.
JOBS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal

.PHONY: help install train check test docs links readme format clean

help:  ## List the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/installed  ## Create .venv and install fast_style and its packages

train: $(VENV)/installed  ## Train a style in 2 minutes (STYLE=starry_night) and stylize PHOTO with it
	$(BIN)/python scripts/train.py experiment=quick style=$(STYLE)
	$(BIN)/python scripts/stylize.py ckpt=checkpoints/quick.safetensors 'input="$(PHOTO)"' output=stylized
	@echo 'Curves and images of the training: $(BIN)/tensorboard --logdir runs'

check: lint  ## Lint, check types and run the quick tests, in two minutes
	$(PYTEST) -m 'not slow'

test: lint  ## Lint, check types and run every test, in ten minutes
	$(PYTEST)

.PHONY: lint
lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/installed-docs  ## Build the site in docs/_build/html; every warning is an error
	$(BIN)/sphinx-build --fail-on-warning --keep-going -b html docs docs/_build/html

links: $(VENV)/installed-docs  ## Check the links of the documentation to other sites
	$(BIN)/sphinx-build -b linkcheck docs docs/_build/links

readme: $(VENV)/installed-test  ## Run every command of the README in a fresh clone, in half an hour
	$(BIN)/python tests/run_readme.py

format: $(VENV)/installed-test  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove .venv and the caches of the tools; keep the results of runs
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache docs/_build docs/api

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'fast_style needs Python 3.11 or newer: make PYTHON=/path/to/python3.11'; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	@echo 'Installing; PyTorch alone is some gigabytes, this takes a few minutes the first time.'
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/installed-test: pyproject.toml | $(VENV)/bin/python
	@echo 'Installing; PyTorch alone is some gigabytes, this takes a few minutes the first time.'
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@ $(VENV)/installed $(VENV)/installed-docs

$(VENV)/installed-docs: pyproject.toml | $(VENV)/bin/python
	@echo 'Installing; PyTorch alone is some gigabytes, this takes a few minutes the first time.'
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@ $(VENV)/installed
