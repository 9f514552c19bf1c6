# Everything a developer or operator does often. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# The contracts as buf reads them: as generated, and as of the last release.
IMAGE := proto/gen/passerelle/v1/descriptors.pb\#format=binpb
BASELINE := proto/baseline.binpb

# The tests start hundreds of our processes: each would compile all its modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install production lock sbom proto client baseline docs up demo test test-fast check bench clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## ?/\t/' | awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'

$(INSTALLED): pyproject.toml proto/pyproject.toml requirements-dev.lock
	$(PYTHON) deploy/install.py --venv $(VENV)
	@touch $@

production:  ## Make what a server runs, without what tests need: make production VENV=/opt/passerelle/0.1.0
	$(PYTHON) deploy/install.py --production --venv $(VENV)

lock:  ## Pin versions and hashes anew where pyproject.toml changed; ARGS=--upgrade takes the newest of all
	$(PYTHON) deploy/lock.py $(ARGS)

sbom:  ## Write sbom.json (CycloneDX): what a server runs
	$(PYTHON) deploy/sbom.py > sbom.json

install: $(INSTALLED)  ## Make .venv with the command .venv/bin/passerelle

proto: $(INSTALLED)  ## Generate stubs, descriptor set and OpenAPI document into proto/gen
	$(BIN)/python proto/generate.py

docs: $(INSTALLED)  ## Write the generated parts of docs/: configuration keys, scopes, folders and their imports, examples
	$(BIN)/passerelle config reference > docs/configuration.md
	$(BIN)/passerelle config scopes > docs/scopes.md
	$(BIN)/python -m tests.unit.test_layout
	$(BIN)/python -m tests.unit.test_plugin_guide

up: $(INSTALLED)  ## Serve the embedded default on http://127.0.0.1:8000 (PASSERELLE_PORT changes it)
	@$(BIN)/passerelle up

demo: $(INSTALLED)  ## Live the main job once: stage, submit, follow, read
	@$(BIN)/python deploy/demo.py

test: $(INSTALLED)  ## Run all tests with the real things there are, or make test ARGS="-n 0 tests/unit/auth"; see CONTRIBUTING.md
	$(BIN)/python -m pytest -n auto $(ARGS)

test-fast: $(INSTALLED)  ## Run the unit and conformance suites: the inner loop
	$(BIN)/python -m pytest -n auto tests/conformance tests/unit $(ARGS)

check: $(INSTALLED)  ## Format, lint and types; contracts by buf.yaml
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy
	$(BIN)/buf lint '$(IMAGE)' && $(BIN)/buf breaking '$(IMAGE)' --against $(BASELINE)

client: $(INSTALLED)  ## Write the wheel of passerelle-client, the stubs of the native API, into dist/
	$(BIN)/python -m pip --disable-pip-version-check wheel --quiet --no-deps --no-build-isolation --wheel-dir dist ./proto

baseline: $(INSTALLED)  ## Take the contracts as they are for those that must not break: at a release
	$(BIN)/buf build '$(IMAGE)' --exclude-source-info -o $(BASELINE)

bench: $(INSTALLED)  ## Measure against bare asyncssh on the same server, or make bench ARGS=--quick; see docs/performance.md
	$(BIN)/python -m bench $(ARGS)

clean:  ## Remove .venv and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
