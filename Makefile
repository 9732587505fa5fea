# The front door. `make demo` shows what this is; `make test` proves it.

PYTHON ?= python3
BIN := .venv/bin
INTO ?= build/demand-pricing
STORY ?= short
TARGET ?= lambda-zip
# The root is no deployed service: its Python is the one that you have.
export PIPELINE_PYTHON ?= $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')

.DEFAULT_GOAL := help
.PHONY: help setup demo test quick check docs bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready ## make .venv from the hashed locks; every other target does it by itself

demo: setup ## a service's first hour, for real: created, trained, deployed, broken, refused; TARGET=sagemaker: an ML pipeline's
	@$(if $(filter eks,$(TARGET)),tests/cluster.sh) $(BIN)/python -m demo --into $(INTO) --story $(STORY) --target $(TARGET)

test: setup ## the whole test suite
	@$(BIN)/nox -s test

quick: setup ## the tests that belong to what was changed since the last commit
	@$(BIN)/nox -s quick

check: setup ## every check: lint, types, test, sast, sca, infra, docs
	@$(BIN)/nox

docs: setup ## the documentation, as a site in build/site
	@$(BIN)/nox -s docs

bench: setup ## the benchmarks
	@$(BIN)/nox -s bench

clean: ## remove all that was made
	rm -rf .venv .nox .tox .pipeline build

# Makes .venv with the locked uv in it, the quickest way first: by a uv on the PATH, by this Python's pip, by a pip for once.
UV_TXT := --quiet --require-hashes -r requirements/uv.txt
NO_VENV := { echo "  next: install python3-venv, then run make again"; exit 1; }
REFUSED := { echo "  next: git status requirements (is it as committed?), check the network, then run make again"; exit 1; }
define BOOTSTRAP
if uv --version 2>/dev/null | grep -Eq '^uv (0\.(9|[1-9][0-9])\.|[1-9])'; then \
  uv venv --quiet --clear --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" .venv && \
  uv pip install --no-build --python $(BIN)/python $(UV_TXT); \
else \
  pip=$(PYTHON); \
  $(PYTHON) -m venv --clear --without-pip .venv || $(NO_VENV); \
  $(PYTHON) -c 'import pip' 2>/dev/null || { pip=.venv/pip/bin/python; $(PYTHON) -m venv .venv/pip || $(NO_VENV); }; \
  PIP_REQUIRE_VIRTUALENV=0 $$pip -m pip --disable-pip-version-check download --only-binary :all: --dest .venv/got $(UV_TXT) && \
  $(PYTHON) -m zipfile -e .venv/got/uv-*.whl .venv/got && chmod +x .venv/got/uv-*.data/scripts/uv && \
  .venv/got/uv-*.data/scripts/uv pip install --no-build --no-index --find-links .venv/got --python $(BIN)/python $(UV_TXT) && \
  rm -rf .venv/got .venv/pip; \
fi
endef

# Scripts in virtual environments have absolute paths, so a folder that was moved makes them anew.
ifneq ($(shell cat .venv/.ready 2>/dev/null),$(shell pwd -P))
.PHONY: .venv/.ready
endif
.venv/.ready: requirements/uv.txt requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "✗ Python 3.11 or newer is needed, $(PYTHON) is %d.%d\n  next: make PYTHON=/path/to/python3.12" % sys.version_info[:2])'
	@[ ! -s $@ ] || [ "$$(cat $@)" = "$$(pwd -P)" ] || rm -rf .venv .nox .tox
	@[ -x $(BIN)/uv ] || { $(BOOTSTRAP); } || $(REFUSED)
	@$(BIN)/uv pip sync --quiet --no-build --require-hashes --python $(BIN)/python requirements/dev.txt || $(REFUSED)
	@$(BIN)/uv pip install --quiet --no-deps --python $(BIN)/python --editable .
	@pwd -P > $@
