# Everything runs in .venv, made here from the locks; nothing has to be installed by hand.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help setup run test coverage test-whole chaos-short chaos hostile lint format bench bench-sync bench-mapping bench-connector bench-replicas bench-dashboard bench-size docs docs-site lock clean

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

setup: $(READY) ## The virtual environment, with the pinned dependencies

$(READY): requirements.lock requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; try: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

run: $(READY) ## The service on 127.0.0.1:8700, with a ProsperStack sandbox on 8701 where no key is set
	@$(BIN)/prosperstack-destination serve --with-sandbox

test: $(READY) ## The test suite, but for what starts whole processes
	$(BIN)/python -m pytest --ignore=tests/chaos -m "not whole"

coverage: $(READY) ## The same, and how much of the code it runs: takes twice as long, and fails below the floor
	$(BIN)/python -m pytest --ignore=tests/chaos -m "not whole" --cov --cov-report=term

test-whole: $(READY) ## The service as it is started: commands, image, compose.yaml, wheel, real clients, the README
	$(BIN)/python -m pytest --ignore=tests/chaos -m whole

chaos-short: $(READY) ## Kills, freezes and failures, two or three of each
	$(BIN)/python -m pytest tests/chaos

chaos: $(READY) ## Kills, freezes and failures, at length (about 15 minutes)
	CHAOS=full $(BIN)/python -m pytest tests/chaos

hostile: $(READY) ## Hostile input and large arrays, at length
	HOSTILE=full $(BIN)/python -m pytest tests/test_hostile_input.py tests/test_large_arrays.py

lint: $(READY) ## ruff and mypy strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## Put the code in the form that lint asks for
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## How fast calls are taken in (needs wrk)
	PYTHONPATH=tests $(BIN)/python -m bench.receiving

bench-sync: $(READY) ## How well ProsperStack's requests are spent, in virtual time
	$(BIN)/python -m bench.growth
	$(BIN)/python -m bench.sync

bench-mapping: $(READY) ## How many profiles a second are mapped
	$(BIN)/python -m bench.projecting

bench-connector: $(READY) ## How fast the data connector answers while a backlog is written
	PYTHONPATH=tests $(BIN)/python -m bench.connector

bench-replicas: $(READY) ## What a second replica brings (needs wrk)
	PYTHONPATH=tests $(BIN)/python -m bench.replicas

bench-dashboard: $(READY) ## How long the dashboard's pages take with a million profiles
	$(BIN)/python -m bench.dashboard

bench-size: $(READY) ## How soon the service is ready, and what it needs, with a million profiles in a thousand accounts
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

clean: ## Remove what make made (the data folder stays)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist site
