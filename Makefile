# Everything runs in .venv, which each target makes by itself. Needed: Python 3.11 or newer and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Another build of torch, such as TORCH="torch==2.13.0"; by default the registry's newest.
TORCH ?= torch
# Processes that share the tests; each takes up to 2 GB.
JOBS ?= 2

.PHONY: demo test test-slow fuzz lint format rows docs bench peers clean

$(VENV)/.stamp-%: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)" --editable ".[$*]"
	touch $@

demo: $(VENV)/.stamp-plot
	$(BIN)/python examples/plot_quickstart.py

# A test that hangs shows where, and is a failure; the slowest takes 20 s.
HANGS := -o faulthandler_timeout=600 -o faulthandler_exit_on_timeout=true

test: $(VENV)/.stamp-test
	$(BIN)/python -m pytest -m "not slow" -n $(JOBS) --dist worksteal $(HANGS) --cov --cov-report=term

test-slow: $(VENV)/.stamp-test
	$(BIN)/python -m pytest -m slow

# The tests that hypothesis draws examples for, with thousands in place of some; other ones in every run.
fuzz: $(VENV)/.stamp-test
	$(BIN)/python -m pytest --hypothesis-profile=fuzz tests/reliability/test_properties.py \
		tests/reliability/test_changed_files.py

lint: $(VENV)/.stamp-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.stamp-lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The tests of each row, written into the table of docs/reliability.md.
rows:
	$(PYTHON) -m tests.reliability.table

docs: $(VENV)/.stamp-docs rows
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

# Keras and TensorFlow live beside, in an environment of their own: they want other versions of what we use.
$(VENV)-peers/.stamp: benchmarks/peers/requirements.txt
	test -x $(VENV)-peers/bin/python || $(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

peers: $(VENV)-peers/.stamp

# DATA is a folder with the four idx files of MNIST; each script says in its first lines what it does.
bench: $(VENV)/.stamp-plot $(VENV)-peers/.stamp
	@test -n "$(DATA)" || { echo "say where the idx files of MNIST are: make bench DATA=FOLDER"; exit 2; }
	mkdir -p benchmarks/results
	cd benchmarks && for script in imports memory search scaling limits busy; do \
		$(abspath $(BIN))/python $$script.py --json results/$$script.json || exit 1; done
	cd benchmarks && $(abspath $(BIN))/python overhead.py "$(abspath $(DATA))" --threads 1 --json results/overhead.json
	cd benchmarks && $(abspath $(BIN))/python throughput.py "$(abspath $(DATA))" --json results/throughput.json \
		--peers $(abspath $(VENV))-peers/bin/python
	cd benchmarks && $(abspath $(BIN))/python time_to_accuracy.py "$(abspath $(DATA))" --json results/time_to_accuracy.json \
		--peers $(abspath $(VENV))-peers/bin/python "filters=(8, 16, 32), max_epochs=1, batch_size=64"

clean:
	rm -rf $(VENV) $(VENV)-peers .hypothesis benchmarks/results docs/_build docs/auto_examples docs/api/generated
