# Two commands for users: `make run` and `make test`. `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SOURCES := $(wildcard datasync server.py gunicorn.conf.py lambda tests benchmarks scripts)
POETRY ?= poetry
# Tests mostly wait for servers and disks: one worker more than there are processors.
WORKERS ?= $(shell expr $$(nproc) + 1)

# What looks longer when it is asked to: CONTRIBUTING.md tells what each of them tries.
SOAKED := tests/live/test_kill_loop.py tests/engine/model/test_model.py \
	tests/engine/test_convergence.py tests/engine/test_events_property.py \
	tests/live/test_accepted_events.py tests/unit/test_inbox_fuzz.py tests/http/test_fuzz.py

# A file names every package there is to install: without --no-deps pip would look for others.
define install_file
@echo "Installing $(1)"
@$(PIP) install --quiet --require-hashes --no-deps -r $(1)
@$(PIP) check --quiet || { $(PIP) check; exit 1; }
@$(BIN)/python scripts/link_project.py
endef

.PHONY: run test coverage check lint audit docs docs-serve soak bench bench-quick lock clean help install install-dev
.DEFAULT_GOAL := help

run: install  ## install everything and start the service (without a bucket: a demo)
	@$(BIN)/datasync serve --demo-if-unconfigured

test: install-dev  ## install everything and run the tests
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal $(ARGS)

coverage: override ARGS += --cov --cov-report=term:skip-covered
coverage: test  ## the same, and which lines no test came by: half as long again

check: lint audit test  ## the whole gate: lint, the audit of what is installed, the tests

soak: install-dev  ## the long forms of all tests that go by chance, and every mutation: hours
	@KILL_ROUNDS=300 MODEL_CASES=2000 EVENT_STORIES=3000 ACCEPTED_ROUNDS=100 \
		CONVERGENCE_SECONDS=600 FUZZ_SECONDS=600 FUZZ_EXAMPLES=100000 \
		$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal $(wildcard $(SOAKED)) $(ARGS)
	@$(BIN)/python -m tests.mutations

lint: install-dev  ## format, style, types, import contracts
	@$(BIN)/black --check --quiet $(SOURCES) || { $(BIN)/black --check $(SOURCES); exit 1; }
	@$(BIN)/python -m flake8 $(SOURCES)
	@$(BIN)/python -m mypy
	@$(BIN)/lint-imports

audit: install-dev  ## known vulnerabilities of the packages; says so when it cannot find out
	@$(BIN)/python scripts/audit.py

# Strict, as the tests of docs build it: a link that leads nowhere ends it.
docs: install-dev  ## build the documentation's site into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo "The site is in site/: 'make docs-serve' shows it, and any web server can."

docs-serve: install-dev  ## show the site at http://127.0.0.1:8000, and each change of a page at once
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve --no-strict $(ARGS)

bench: install-dev  ## measure against rclone, s5cmd and the AWS CLI (docs/PERFORMANCE.md): hours
	@$(BIN)/python -m benchmarks $(ARGS)

bench-quick: install-dev  ## a small part of it, in less than 3 minutes
	@$(BIN)/python -m benchmarks --quick $(ARGS)

# Stamps: an install is skipped while its stamp is newer than the file it was made from.
install: $(VENV)/.installed  ## install what the service and its demo need

install-dev: $(VENV)/.installed-dev  ## install what the tests need as well

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "DataSync needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Making $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.txt pyproject.toml scripts/link_project.py | $(BIN)/python
	$(call install_file,requirements.txt)
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt pyproject.toml scripts/link_project.py | $(BIN)/python
	$(call install_file,requirements-dev.txt)
	@touch $@ $(VENV)/.installed

lock:  ## renew poetry.lock and the requirement files (needs poetry with its export plugin)
	@$(POETRY) lock
	@$(POETRY) export -f requirements.txt -o requirements-service.txt
	@$(POETRY) export --with demo -f requirements.txt -o requirements.txt
	@$(POETRY) export --with demo,dev -f requirements.txt -o requirements-dev.txt
	@! grep -n -- '-index-url\|://' requirements*.txt

clean:  ## remove what was installed and made; mirrored files and logs stay
	@rm -rf $(VENV) .mypy_cache .pytest_cache .import_linter_cache .hypothesis .coverage htmlcov site
	@find $(SOURCES) -name __pycache__ -prune -exec rm -rf {} +

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' \
		| while IFS='|' read -r name text; do printf '%-20s %s\n' "$$name" "$$text"; done
