# All commands run in .venv, which make creates from the lock files.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help setup run test coverage test-whole chaos-short chaos hostile lint format bench bench-sync bench-mapping bench-connector bench-replicas bench-dashboard bench-size docs docs-site lock clean

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

setup: $(READY) ## Create the virtual environment with the pinned dependencies

$(READY): requirements.lock requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; try: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

run: $(READY) ## Run the service on 127.0.0.1:8700, with a ProsperStack sandbox on 8701 if no key is set
	@$(BIN)/prosperstack-destination serve --with-sandbox

test: $(READY) ## Run the tests, except those that start whole processes
	$(BIN)/python -m pytest --ignore=tests/chaos -m "not whole"

coverage: $(READY) ## Run the tests with coverage: twice as long, fails below the floor
	$(BIN)/python -m pytest --ignore=tests/chaos -m "not whole" --cov --cov-report=term

test-whole: $(READY) ## Test whole processes: commands, image, compose.yaml, wheel, real clients, the README
	$(BIN)/python -m pytest --ignore=tests/chaos -m whole

chaos-short: $(READY) ## Test kills, freezes and failures, two or three of each
	$(BIN)/python -m pytest tests/chaos

chaos: $(READY) ## Test kills, freezes and failures at length (about 15 minutes)
	CHAOS=full $(BIN)/python -m pytest tests/chaos

hostile: $(READY) ## Test hostile input and large arrays at length
	HOSTILE=full $(BIN)/python -m pytest tests/test_hostile_input.py tests/test_large_arrays.py

lint: $(READY) ## ruff, mypy strict, and the measures of language and layout
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tools.language

format: $(READY) ## Format the code and fix what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## Measure the ingest rate (needs wrk)
	PYTHONPATH=tests $(BIN)/python -m bench.receiving

bench-sync: $(READY) ## Measure the use of ProsperStack's requests, in virtual time
	$(BIN)/python -m bench.growth
	$(BIN)/python -m bench.sync

bench-mapping: $(READY) ## Measure mapped profiles a second
	$(BIN)/python -m bench.projecting

bench-connector: $(READY) ## Measure the data connector's latency during a backlog
	PYTHONPATH=tests $(BIN)/python -m bench.connector

bench-replicas: $(READY) ## Measure the ingest rate of two replicas (needs wrk)
	PYTHONPATH=tests $(BIN)/python -m bench.replicas

bench-dashboard: $(READY) ## Measure the dashboard's pages with a million profiles
	$(BIN)/python -m bench.dashboard

bench-size: $(READY) ## Measure start time, memory and CPU with a million profiles in a thousand accounts
	PYTHONPATH=tests $(BIN)/python -m bench.size

docs: $(READY) ## Write the API reference
	$(BIN)/python -m tools.api_reference

docs-site: docs ## Build the documents as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lock: ## Pin the newest dependencies (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-strip-extras \
		--custom-compile-command "make lock" --upgrade -o requirements.lock pyproject.toml
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-strip-extras \
		--custom-compile-command "make lock" --upgrade --group build -c requirements.lock -o requirements-build.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-strip-extras \
		--custom-compile-command "make lock" --upgrade --group dev -c requirements.lock -c requirements-build.lock -o requirements-dev.lock

clean: ## Remove generated files (the data folder stays)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist site
