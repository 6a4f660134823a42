PYTHON ?= $(shell for name in python3.11 python3.12 python3 python; do \
    $$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && echo $$name && break; done)
BIN := .venv/bin
SAMPLE := build/sample.db
ifdef DB
# the name as it is, whatever characters are in it
override export DB := $(value DB)
else
export DB := $(SAMPLE)
endif
EXAMPLES := $(sort $(dir $(wildcard examples/*/*.py)))
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check
PIN = uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-emit-find-links --no-annotate --no-header pyproject.toml

# programs in an environment name its place: one that was moved with its checkout is made anew
ifneq ($(wildcard .venv),)
ifneq ($(shell grep -qF -- ' $(CURDIR)/.venv' .venv/pyvenv.cfg 2>/dev/null && echo here),here)
$(shell rm -f .venv/created)
endif
endif

.PHONY: run install test lint bench soak coverage requirements clean

run: install $(if $(filter-out $(SAMPLE),$(DB)),,$(SAMPLE))
	$(BIN)/ceramic-order run "$$DB"
	$(BIN)/ceramic-order status "$$DB"

install: .venv/installed

test: lint
	$(BIN)/pytest -n 2

lint: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	for folder in $(EXAMPLES); do $(BIN)/mypy $$folder || exit 1; done

bench: .venv/installed-dev
	$(BIN)/python -m tests.benchmarks$(if $(filter scale,$(BENCH)),.scale)

soak: .venv/installed-dev
	$(BIN)/pytest -m soak --timeout 7200

coverage: .venv/installed-dev
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --include 'connectors/*,operators/*' --fail-under 95

# Pins every package with its hashes; no index address is written down.
requirements:
	$(PIN) --group build -o requirements.txt
	$(PIN) --group dev -o requirements-dev.txt

clean:
	rm -rf .venv build .coverage*

$(SAMPLE): | install
	mkdir -p $(@D)
	$(BIN)/ceramic-order synth $@ --streams 10000 --length 10 --forks 0.1

.venv/created:
	@test -n "$(PYTHON)" || { echo >&2 "Error: Python 3.11 or 3.12 is needed (Bytewax runs on no later one), and \
	none was found. Install one of them, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 2; }
	@command -v $(CC) >/dev/null || { echo >&2 "Error: a C compiler is needed (one library is built from \
	its source), and there is no \`$(CC)\`. Install one, like Debian's gcc, or name it: make CC=/path/to/compiler \
	$(MAKECMDGOALS)"; exit 2; }
	"$(PYTHON)" -m venv --clear .venv
	touch $@

# a run needs the packages of requirements.txt, the tests need some more; what is compiled here is
# compiled at each start otherwise, where PYTHONDONTWRITEBYTECODE is set or the folder is read-only
.venv/installed: .venv/created requirements.txt pyproject.toml
	$(PIP) --require-hashes -r requirements.txt
	$(PIP) --no-deps --no-build-isolation -e .
	$(BIN)/python -m compileall -q ceramic_order.py connectors flows operators
	touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(PIP) --require-hashes -r requirements-dev.txt
	touch $@
