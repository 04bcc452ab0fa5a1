# Everything runs in .venv, which each target makes by itself. Needed: Python 3.11 or newer and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Another build of torch, such as TORCH="torch==2.13.0"; by default the registry's newest.
TORCH ?= torch

.PHONY: demo test test-slow lint format docs clean

$(VENV)/.stamp-%: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)" --editable ".[$*]"
	touch $@

demo: $(VENV)/.stamp-plot
	$(BIN)/python examples/plot_quickstart.py

test: $(VENV)/.stamp-test
	$(BIN)/python -m pytest -m "not slow" --cov --cov-report=term

test-slow: $(VENV)/.stamp-test
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.stamp-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.stamp-lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.stamp-docs
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf $(VENV) docs/_build docs/auto_examples docs/api/generated
