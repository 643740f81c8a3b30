# Two commands: make train, make test. Both make .venv on first use.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

STYLE ?= starry_night
# One of the photos that come along with scikit-image, and that quick does not train on.
PHOTO ?= $(shell $(BIN)/python -c 'from fast_style.data.sample_photos import skimage_files; print(skimage_files()[1])')

.PHONY: help train test format clean

help:  ## Say what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

train: $(VENV)/installed  ## Train a short STYLE (starry_night) and paint PHOTO with it
	$(BIN)/python scripts/train.py experiment=quick style=$(STYLE)
	$(BIN)/python scripts/stylize.py ckpt=checkpoints/quick.safetensors 'input="$(PHOTO)"' output=stylized
	@echo 'Curves and pictures of the training: $(BIN)/tensorboard --logdir runs'

test: $(VENV)/installed-test  ## Lint, check types, run every test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

format: $(VENV)/installed-test  ## Bring the code into the one format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove .venv and the tools' caches, no result of any run
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache

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
	@touch $@ $(VENV)/installed
