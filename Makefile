# `make run` and `make test` are all that a fresh machine needs; `make help` lists the rest.
# Each set-up happens in .venv, and again only when setup.cfg, setup.py or pyproject.toml changed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
METADATA := setup.cfg setup.py pyproject.toml
# Arguments for pytest, as in: make test ARGS="-k http1 -x"
ARGS ?=
# pip, saying nothing but errors.
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq install --no-compile

.DEFAULT_GOAL := help
.PHONY: help run test test-all lint docs bench clean
.DELETE_ON_ERROR:

help:
	@echo "make run        start the demo: three backends, and revproxy in front of them"
	@echo "make test       the tests, in less than four minutes; says which real peers are absent"
	@echo "make test-all   the tests, soaks and load included"
	@echo "make lint       ruff and mypy"
	@echo "make docs       the documentation, warnings being errors; into docs/_build/html"
	@echo "make bench      CPU per request, next to whatever of nginx, HAProxy and Caddy is installed"
	@echo "make clean      remove everything that the above made"
	@echo
	@echo "PYTHON=python3.12 make ... takes another Python; 3.11 is the oldest that will do."

run: $(VENV)/.made-run
	@$(BIN)/python -m revproxy.demo run

# Three processes read all tests: 8 s each when they are compiled, 27 s when not.
test test-all: export PYTHONDONTWRITEBYTECODE =

test: $(VENV)/.made-test
	@$(BIN)/python -m pytest -n 3 --dist loadfile -m "not slow" $(ARGS)

test-all: $(VENV)/.made-test
	@REVPROXY_EXAMPLES=3 $(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.made-lint
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: $(VENV)/.made-docs
	@$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

bench: $(VENV)/.made-run
	@$(BIN)/python -m revproxy.bench $(ARGS)

clean:
	rm -rf $(VENV) .sslyze build dist docs/_build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis _trial_temp*
	find revproxy twisted tests docs -name __pycache__ -prune -exec rm -rf {} +
	rm -f twisted/plugins/dropin.cache twistd.pid twistd.log

# The environment itself, with a clear word where Python is too old or was packaged without venv.
$(VENV)/.made: $(METADATA)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "revproxy needs Python 3.11 or later, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1 | head -n 1)."; \
	  echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "==> making the virtual environment $(VENV) with $$($(PYTHON) --version)"
	@start=$$(date +%s); $(PYTHON) -m venv $(VENV) || { \
	  echo "'$(PYTHON) -m venv' does not work here; on Debian: apt-get install python3-venv"; exit 1; }; \
	  echo "    done in $$(($$(date +%s) - start)) s"
	@touch $@

# $(call install,WHAT,INTO WORDS)
define install
@echo "==> installing $(2) into $(VENV) (needs the package index; once)"
@start=$$(date +%s); $(PIP) --editable $(1) && echo "    done in $$(($$(date +%s) - start)) s"
@touch $@
endef

$(VENV)/.made-run: $(VENV)/.made
	$(call install,.,revproxy and what it needs)

$(VENV)/.made-test: $(VENV)/.made
	$(call install,'.[test]',revproxy and what its tests need)

$(VENV)/.made-lint: $(VENV)/.made
	$(call install,'.[lint]',revproxy and the linters)

$(VENV)/.made-docs: $(VENV)/.made
	$(call install,'.[docs]',revproxy and what builds its documentation)
