# Every target says what it does: `make` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROBE ?= 200
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup run test fuzz lint format golden bench proto docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "controlplane needs Python 3.11 or later; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

setup: $(STAMP) ## make .venv with everything that the other targets need

run: setup ## start the quickstart: two backends, the control plane, an Envoy
	@$(BIN)/controlplane quickstart

test: setup ## run all tests, with a real Envoy (ARGS="-k name" for some)
	$(BIN)/python -m pytest $(ARGS)

fuzz: setup ## give each fuzzer of the xDS port FUZZ_SECONDS (60)
	FUZZ_SECONDS=$${FUZZ_SECONDS:-60} $(BIN)/python -m pytest tests/xds -k test_any_ -s

lint: setup ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## let ruff put everything in form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

golden: setup ## write the golden files anew; read the difference before you commit it
	GOLDEN=write $(BIN)/python -m pytest tests/golden -q

bench: setup ## the benchmarks: what a change costs, small and large; new routes on a real Envoy (PROBE=3000 for many)
	$(BIN)/python -m bench.engine
	$(BIN)/python -m bench.route_change
	$(BIN)/python -m bench.probe --size $(PROBE)
	$(BIN)/python -m bench.fan_out --small
	$(BIN)/python -m bench.herd --small
	$(BIN)/python -m bench.acknowledgements --small

proto: setup ## generate Envoy's messages anew
	$(PYTHON) proto/generate.py

docs: setup ## check that the commands in the documents exist and their links lead somewhere
	$(BIN)/python -m pytest tests/test_documents.py -q

clean: ## remove .venv and caches
	rm -rf $(VENV) .venv-proto .pytest_cache .mypy_cache .ruff_cache .hypothesis
