# Two commands: `make quickstart` runs a whole study, `make test` passes the tests. Each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Stages and tests find the project's own python and dvc first.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Container images set it; each of a study's many processes would compile the same modules again (0.9 s of 2.5 s).
unexport PYTHONDONTWRITEBYTECODE

.PHONY: quickstart test test-unit coverage lint check graph docs setup engines clean
.DEFAULT_GOAL := help

help:
	@echo "make quickstart  set up everything and run the embedded study end to end"
	@echo "make test        set up everything and run all tests"
	@echo "make lint        ruff, mypy --strict, typos"
	@echo "make check       ruff, mypy --strict, typos, import rules"
	@echo "make test-unit   the tests that start no engine"
	@echo "make coverage    the unit tests, with the share of lines that they run; fails below the floor"
	@echo "make docs        build the documents as a site that needs no network: site/index.html"
	@echo "make graph       write the code that each stage depends on into dvc.yaml"
	@echo "make clean       remove .venv and the engine environments (not the store of responses)"

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml envs/core.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed; set PYTHON=python3.11" >&2; exit 4; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the core (about a minute and a half)"
	@$(BIN)/python -m pip install -qq --no-compile --disable-pip-version-check -c envs/core.txt -e '.[dev]'
	@touch $@

# Before the core is installed. The locks in envs/ are for 3.11; `its env sync` has the same rule, with its reason.
PYTHON_OF_ENGINES = import sys; v = sys.version_info[:2]; v in ((3, 11), (3, 12)) or sys.exit("error: the engines need Python 3.11 (3.12 is tried), this is %d.%d; `make clean`, then set PYTHON=python3.11" % v)

.PHONY: python-of-engines
python-of-engines:
	@python=$(BIN)/python; test -x $$python || python='$(PYTHON)'; $$python -c '$(PYTHON_OF_ENGINES)' || exit 4

engines: python-of-engines setup
	@its env sync

quickstart: engines
	@its recipe use quickstart
	@dvc repro
	@its results table

lint: setup
	ruff check .
	ruff format --check .
	mypy
	typos

check: lint
	pytest -q tests/unit/test_imports.py tests/unit/test_graph.py

graph: setup
	@python tests/graph.py

docs: setup
	@NO_MKDOCS_2_WARNING=1 mkdocs build --strict
	@echo "open site/index.html"

# Whole files side by side, studies first, which take longest; one more than cores, since tests wait for processes. An engine takes
# all cores for half of its time; it starts on one.
SIDE_BY_SIDE := pytest -n $(shell n=$$(nproc 2> /dev/null || echo 2); echo $$((n < 4 ? n + 1 : 4))) --dist loadfile --no-loadscope-reorder

# The engine environments, minutes of downloads, are set up while the tests run that start no engine.
test: python-of-engines setup
	@status=0; \
	its env sync > $(VENV)/engines.log 2>&1 & engines=$$!; trap 'kill $$engines 2> /dev/null; exit 130' INT; \
	$(SIDE_BY_SIDE) tests/studies tests/hostile tests/unit || status=$$?; \
	wait $$engines || { status=$$?; cat $(VENV)/engines.log >&2; exit $$status; }; trap - INT; \
	pytest -n 2 --dist loadfile --no-loadscope-reorder tests/integration tests/browser || status=$$?; \
	exit $$status

test-unit: setup
	$(SIDE_BY_SIDE) -m "not integration" tests/hostile tests/unit

coverage: setup
	pytest -m "not integration" tests/unit --cov

clean:
	rm -rf $(VENV) .its/envs
