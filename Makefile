# Everything a newcomer needs: `make sandbox` and `make test`. See CONTRIBUTING.md for the rest.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install sandbox test check format bench bench-network soak-network clean

help:            ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(STAMP): pyproject.toml requirements.lock requirements-tools.txt setup.py src/pyccf/apps/js/_build.py $(wildcard src/pyccf/apps/js/native/*)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-tools.txt
	@touch $@

install: $(STAMP)  ## create the virtual environment and install pyccf into it

sandbox: $(STAMP)  ## start a service of three nodes with the sample app; Ctrl-C stops it
	@$(BIN)/pyccf sandbox --nodes 3 $(ARGS)

test: $(STAMP)     ## run the tests
	$(BIN)/python -m pytest $(ARGS)

check: $(STAMP)    ## style, types and architecture
	$(BIN)/ruff check src tests bench samples
	$(BIN)/ruff format --check src tests bench samples
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)   ## apply the formatter
	$(BIN)/ruff check --fix src tests bench samples
	$(BIN)/ruff format src tests bench samples

bench: $(STAMP)    ## measure; writes bench/results/*.json
	$(BIN)/python -m bench $(ARGS)

bench-network: $(STAMP)  ## measure a network of four nodes; writes bench/results/network-*.json
	$(BIN)/python -m bench.network $(ARGS)

soak-network: $(STAMP)  ## kill the primary 50 times under load; takes about ten minutes
	PYCCF_SOAK=1 $(BIN)/python -m pytest -s tests/e2e/test_faults_soak.py $(ARGS)

clean:           ## remove what the other targets made
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis
