# Targets that a newcomer guesses. Everything happens in .venv at the root of the repository.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PLUGINS := -e audit -e plugins/standard -e plugins/mae -e plugins/vqgan -e plugins/diffusion -e plugins/dvc -e plugins/mlflow
PROJECT_FILES := pyproject.toml constraints.txt audit/pyproject.toml $(wildcard plugins/*/pyproject.toml)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Linear algebra on two threads is at its best with one process; tests run one process a core.
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: demo test test-all lint format docs bench bench-table bench-calibration clean help

help: ## Show the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: .venv/demo.stamp ## Install, train a small model on real faces, and make it forget one person.
	$(BIN)/cu demo policies
	$(BIN)/cu apply policies/gdpr_req_123.yaml
	$(BIN)/cu report gdpr-req-123 --workspace policies

test: .venv/dev.stamp ## Run the tests; under 10 minutes on 2 cores.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder

test-all: .venv/dev.stamp ## Run the slow tests as well.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: .venv/dev.stamp ## Check style, types and the direction of imports.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/dev.stamp ## Format the code.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/dev.stamp ## Write the command reference and the JSON schemas again.
	$(BIN)/python docs/generate.py

bench: .venv/dev.stamp ## Measure what speed claims rest on.
	$(BIN)/python benchmarks/start_up.py
	$(BIN)/python benchmarks/cached_targets.py

bench-table: .venv/dev.stamp ## Compare all strategies as the paper's table does; long (TABLE=--quick: minutes).
	$(BIN)/python -m benchmarks.table $(TABLE)

bench-calibration: .venv/dev.stamp ## Find out how often the checks are wrong; one to two hours.
	$(BIN)/python benchmarks/calibration.py

clean: ## Remove the environment and the demonstration's workspace.
	rm -rf .venv demo-workspace .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

.venv/base.stamp: constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) hatchling editables setuptools wheel
	touch $@

.venv/demo.stamp: .venv/base.stamp $(PROJECT_FILES)
	$(PIP) --no-build-isolation -e ".[demo]" $(PLUGINS)
	touch $@

.venv/dev.stamp: .venv/demo.stamp tests/echo_plugin/pyproject.toml
	$(PIP) --no-build-isolation -e ".[dev]" $(PLUGINS) -e tests/echo_plugin
	touch $@
