PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
BIN := .venv/bin
SAMPLE := build/sample.db
DB ?= $(SAMPLE)

.PHONY: run install test lint bench soak coverage requirements clean

run: install $(DB)
	$(BIN)/ceramic-order run $(DB)
	$(BIN)/ceramic-order status $(DB)

install: .venv/installed

test: .venv/installed lint
	$(BIN)/pytest

lint: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	for folder in examples/*/; do $(BIN)/mypy $$folder || exit 1; done

bench: .venv/installed
	$(BIN)/python -m tests.benchmarks$(if $(filter scale,$(BENCH)),.scale)

soak: .venv/installed
	$(BIN)/pytest -m soak --timeout 7200

coverage: .venv/installed
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --include 'connectors/*,operators/*' --fail-under 95

# Pins every package with its hashes; no index address is written down.
requirements:
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header pyproject.toml -o requirements.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header pyproject.toml --group dev -o requirements-dev.txt

clean:
	rm -rf .venv build .coverage*

$(SAMPLE): | install
	mkdir -p $(@D)
	$(BIN)/ceramic-order synth $@ --streams 10000 --length 10 --forks 0.1

.venv/created:
	$(PYTHON) -m venv .venv
	touch $@

.venv/installed: .venv/created requirements-dev.txt pyproject.toml
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@
