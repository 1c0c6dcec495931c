# Each target does all its own set-up. PYTHON must be 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCS := $(VENV)/.docs
PYTEST := $(BIN)/python -m pytest
# Several processes, a file of tests in one of them, PyTorch in each with one thread.
WORKERS ?= logical
PARALLEL := -n $(WORKERS) --maxprocesses 8 --dist loadfile

.PHONY: demo test test-processors test-slow check format lint types layers coverage reproduce bench ways quality docs docs-serve notebooks clean help

help: ## Show what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

demo: $(STAMP) ## Train on digits, refuse noise and letters, write demo/report.html
	$(BIN)/nescio demo --out demo

test: $(STAMP) ## Run the fast tests
	$(PYTEST) $(PARALLEL)

test-processors: $(STAMP) ## Run the fast tests as other processors, threads and seeds would (20 minutes)
	$(BIN)/python tests/support/try_processors.py

test-slow: $(STAMP) ## Run the slow tests
	$(PYTEST) $(PARALLEL) -m slow --timeout 900

check: lint types layers coverage ## Format, lint, types, import layers, tests with coverage

format: $(STAMP) ## Bring the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

layers: $(STAMP)
	$(BIN)/lint-imports

coverage: $(STAMP)
	$(PYTEST) $(PARALLEL) --cov --cov-report=term

reproduce: $(STAMP) ## The article's table on MNIST
	$(BIN)/nescio reproduce mnist

bench: $(STAMP) ## Measure nescio beside its peers (about fifteen minutes; a quiet machine)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .bench-peers -r benchmarks/peers.txt
	PYTHONPATH=.bench-peers $(BIN)/python benchmarks/bench.py --data mnist
	$(BIN)/python benchmarks/tables.py

ways: $(STAMP) ## The article's four ways to do better, on MNIST (hours on two cores)
	$(BIN)/python benchmarks/ways.py --data mnist

quality: $(STAMP) ## What the default recipe is worth beyond MNIST: goes on where it was left (45 minutes of one core)
	$(BIN)/python benchmarks/quality.py
	$(BIN)/python benchmarks/quality_tables.py

# Not --quiet: what it does not say, --strict does not count.
docs: $(DOCS) ## Build the documentation site into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: $(DOCS) ## Show the site while it is written, at http://127.0.0.1:8000
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --strict

notebooks: $(STAMP) ## Run the notebooks and keep what they show (about two minutes)
	$(BIN)/python docs/tools/run_notebooks.py

clean: ## Remove what was made
	rm -rf $(VENV) .bench-peers demo site .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage

# PyTorch's CPU build first and by itself: pip must never choose another one for it.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Python 3.11 or newer is needed; set PYTHON=python3.11 or newer"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch -c constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@touch $(STAMP)

$(DOCS): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]' -c constraints.txt
	@touch $(DOCS)
