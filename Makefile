# Every target sets up what it needs. `make setup PYTHON=/path/to/python3.11` chooses the Python.
SHELL := /bin/sh
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The stories take longest, so they come first, as the folders do (--no-loadscope-reorder).
# Each worker of the local cloud tests runs a cloud of its own, so more than a few do not pay.
WORKERS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); [ "$$n" -le 4 ] && echo $$n || echo 4)
PYTEST := -m pytest -q --dist loadfile --no-loadscope-reorder -n
MEASURED := .measured
# What decides over data is covered to the last branch.
DECISIONS := geusemaker/services/rollback/*,geusemaker/services/guard.py,geusemaker/services/compatibility.py,geusemaker/services/data_return.py,geusemaker/services/rehearse/verdict.py,geusemaker/catalog/*,geusemaker/engine/versions.py,geusemaker/engine/sites.py,geusemaker/engine/standing.py,geusemaker/services/change/plan.py,geusemaker/services/change/holes.py,geusemaker/services/change/record.py,geusemaker/services/bake/judge.py,geusemaker/agent/retention.py

# Every warning is an error: a link that leads nowhere, a page that stands in no list.
DOCS = $(BIN)/sphinx-build -q -W --keep-going -d build/doctrees docs build/docs

.PHONY: help setup engine demo lint format docs test coverage decisions slow test-all soak bench defaults lock release clean

help:
	@echo "make setup     .venv/bin/geusemaker and the Pulumi engine"
	@echo "make demo      the main job on a local cloud: deploy, update, update, roll back"
	@echo "make test      lint, type check, import contracts, all tests but the slow ones"
	@echo "make coverage  the branch coverage of all processes by the same tests; it must be 90 %"
	@echo "make decisions the branch coverage of what decides over data, by its unit tests; it must be 100 %"
	@echo "make slow      the slow tests"
	@echo "make test-all  lint, coverage, and the slow tests"
	@echo "make soak      failing releases again and again on a machine under load: an hour"
	@echo "make lint      lint, type check, import contracts, the documentation's links"
	@echo "make format    format the code and mend what the linter can"
	@echo "make docs      the documentation as a site, build/docs/index.html"
	@echo "make bench     how long operations take and services are away, against a bare script and by hand"
	@echo "make defaults  choose the images of new deployments by registries and OSV, and record them with the day"
	@echo "make lock      write requirements.lock anew from pyproject.toml (needs internet)"
	@echo "make release   wheel and sdist, tried in an empty folder, and what is left to type (docs/releasing.md)"
	@echo "make clean     remove everything the other targets made here"

# A virtual environment holds absolute paths: one that came with a moved or copied folder is made again.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif
$(STAMP): pyproject.toml requirements.lock geusemaker/_version.py tools/venv.sh
	@sh tools/venv.sh $(VENV) $(PYTHON)
	@echo "$(CURDIR)" > $@

setup: $(STAMP) engine
	@echo "setup: ready, $(BIN)/geusemaker"

engine: $(STAMP)
	@$(BIN)/python -m geusemaker.engine

demo: setup
	@sh examples/demo.sh

lint: $(STAMP)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check --quiet || { $(BIN)/ruff format --check; exit 1; }
	@$(BIN)/mypy
	@out=$$($(BIN)/lint-imports 2>&1) || { echo "$$out"; exit 1; }; echo "$$out" | tail -n 1
	@$(DOCS)

format: $(STAMP)
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

docs: $(STAMP)
	@$(DOCS)
	@echo "docs: build/docs/index.html"

test: setup lint
	@$(BIN)/python $(PYTEST) $(WORKERS) -m "not slow"

# The coverage of the package is that of all its processes: command line, local cloud, programs of the instances. The
# quick tests reach it. Being measured takes time, so the slow tests, where time matters, run as users' machines do.
test-all: setup lint coverage slow

# Half of what a story does is to wait: for a deadline, a gate, a machine that boots. One more at a time uses that.
slow: setup
	@$(BIN)/python $(PYTEST) $(shell expr $(WORKERS) + 1) -m slow

# What decides over data, by the tests of services and catalog alone, without the random ones: a minute instead of the
# whole coverage, and the same each time.
decisions: setup
	@mkdir -p $(MEASURED)
	@$(BIN)/python -m coverage run --branch --data-file=$(MEASURED)/decisions --include="$(DECISIONS)" \
		-m pytest -q -n 0 -p no:cacheprovider tests/unit/test_services tests/unit/test_catalog \
		tests/unit/test_engine/test_versions.py tests/unit/test_agent/test_retention.py \
		--ignore tests/unit/test_services/test_any_sequence.py --ignore tests/unit/test_services/test_every_call.py
	@$(BIN)/coverage report --data-file=$(MEASURED)/decisions --fail-under=100

coverage: setup
	@$(BIN)/python tools/measured.py $(MEASURED)
	@$(MEASURED)/bin/python $(PYTEST) $(WORKERS) -m "not slow"
	@$(BIN)/coverage combine --quiet --rcfile=$(MEASURED)/coveragerc
	@$(BIN)/coverage report --rcfile=$(MEASURED)/coveragerc --fail-under=90
	@$(BIN)/coverage report --rcfile=$(MEASURED)/coveragerc --fail-under=100 --include="$(DECISIONS)"

# One after the other: the load is part of it. SOAK_TIMES=3 makes it shorter.
soak: setup
	@$(BIN)/python -m pytest -q -n 0 -m soak tests/soak tests/end_to_end

bench: setup
	@$(BIN)/python -m benchmarks

defaults: $(STAMP)
	@PYTHONPATH=. $(BIN)/python tools/defaults.py
	@$(BIN)/ruff format --quiet geusemaker/catalog

lock: $(STAMP)
	@$(BIN)/uv pip compile pyproject.toml --extra local --extra notify --extra dev --universal --python-version 3.11 --upgrade \
		--no-annotate --no-header --no-emit-index-url --generate-hashes --quiet --output-file requirements.lock

release: setup
	@sh tools/release.sh $(BIN)

clean:
	@if [ -x .demo/geusemaker ]; then .demo/geusemaker local reset --yes; fi
	@rm -rf $(VENV) $(MEASURED) .demo build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
