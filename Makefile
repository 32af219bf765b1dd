# Every target sets up what it needs from Python 3.11-3.13 and the package index alone.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

UV_VERSION := 0.13.9
BIN := .venv/bin
SYNCED := .venv/.synced
PYTHONS := $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python)
# pip and uv bring their own list of authorities; the machine's may know more (a company's proxy).
CERTIFICATES := $(firstword $(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt))

# Torch alone takes twenty seconds to compile: once is enough.
unexport PYTHONDONTWRITEBYTECODE

# Nothing is downloaded at run time, and no interpreter but the one that is here.
export HF_HUB_OFFLINE := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export UV_PYTHON_DOWNLOADS := never
export UV_PROJECT_ENVIRONMENT := .venv

.PHONY: help
help: ## Show this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-26s %s\n", $$1, $$2 }'

.PHONY: demo
demo: $(SYNCED) ## Load the MovieLens sample, click once, watch the ranking change (ARGS=--exit ends there)
	@$(BIN)/eddyline demo examples/movielens $(ARGS)

# A group of tests shares its processes and models, so one worker runs it; the long ones come first.
PYTEST := $(BIN)/pytest -n auto --dist loadgroup --no-loadscope-reorder

.PHONY: test
test: $(SYNCED) ## Run the tests, in six to ten minutes (ARGS="-k profile -x" goes to pytest)
	@$(PYTEST) -m "not extended" $(ARGS)

.PHONY: test-fast
test-fast: $(SYNCED) ## Run what is quick and starts no process, in about two minutes: for while you edit
	@KAFKA_BOOTSTRAP=in-process $(PYTEST) -m "not (extended or process or system or chaos or slow)" $(ARGS)

.PHONY: test-all
test-all: export CHAOS_SEED ?= $(shell date +%s)
test-all: $(SYNCED) ## Run everything, with more examples and the full chaos, in an hour at most
	@echo "CHAOS_SEED=$(CHAOS_SEED)"
	@$(PYTEST) --hypothesis-profile=thorough $(ARGS)
	@$(BIN)/python -m tests.chaos --seed $(CHAOS_SEED) --faults 5 --no-write

.PHONY: chaos
chaos: $(SYNCED) ## Break everything under load, in full (wants Java or KAFKA_BOOTSTRAP, and cc; ARGS="--seed 7")
	@$(BIN)/python -m tests.chaos $(ARGS)

.PHONY: lint
lint: $(SYNCED) ## Check style, format, types and layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: format
format: $(SYNCED) ## Fix style and format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: schemas
schemas: $(SYNCED) ## Rewrite schemas/ from the models
	@$(BIN)/eddyline schemas

.PHONY: audit-dependencies
audit-dependencies: $(SYNCED) ## Ask OSV, on the internet, which locked dependencies have known vulnerabilities (ARGS="--ignore ID")
	@uv=.cache/uv/bin/uv; [ -x "$$uv" ] || uv=uv; "$$uv" audit --frozen --preview-features audit $(ARGS)

.PHONY: setup
setup: $(SYNCED) ## Only set up .venv
	@:

.PHONY: clean
clean: ## Remove what the other targets made, the demo's data too
	rm -rf .venv .cache .eddyline .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find services tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# A .venv whose interpreter has gone is made anew.
ifeq ($(shell $(BIN)/python -c 'print("starts")' 2>/dev/null),)
$(SYNCED): FORCE
endif

.PHONY: FORCE
FORCE:

$(SYNCED): pyproject.toml uv.lock
	@set -eu; unset VIRTUAL_ENV; \
	python=; \
	for candidate in $(PYTHONS); do \
	  if python=$$("$$candidate" -c 'import sys; (3, 11) <= sys.version_info[:2] <= (3, 13) or sys.exit(1); print(getattr(sys, "_base_executable", sys.executable))' 2>/dev/null); then break; fi; \
	  python=; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "Eddyline needs Python 3.11, 3.12 or 3.13. Tried: $(PYTHONS); found: $$(python3 --version 2>/dev/null || echo no python3)." >&2; \
	  echo "Install one, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; \
	  exit 1; \
	fi; \
	if [ -n "$(CERTIFICATES)" ]; then \
	  export SSL_CERT_FILE="$${SSL_CERT_FILE:-$(CERTIFICATES)}" PIP_CERT="$${PIP_CERT:-$(CERTIFICATES)}"; \
	fi; \
	uv=uv; \
	case "$$(uv --version 2>/dev/null || true)" in \
	  "uv 0."[0-6].* | "") \
	    uv=.cache/uv/bin/uv; \
	    if [ "$$($$uv --version 2>/dev/null | cut -d' ' -f2)" != "$(UV_VERSION)" ]; then \
	      echo "Bringing uv $(UV_VERSION) into .cache/uv"; \
	      "$$python" -m venv --clear .cache/uv || { echo "This Python can't make a virtual environment: install its venv module (on Debian: python3-venv)." >&2; exit 1; }; \
	      .cache/uv/bin/python -m pip install --quiet --no-input --no-cache-dir --disable-pip-version-check "uv==$(UV_VERSION)"; \
	    fi ;; \
	esac; \
	cache=$${XDG_CACHE_HOME:-$${HOME:-/nonexistent}/.cache}/uv; \
	if [ -z "$${UV_CACHE_DIR:-}" ] && ! { mkdir -p "$$cache" && [ -w "$$cache" ]; } 2>/dev/null; then \
	  export UV_CACHE_DIR="$$PWD/.cache/packages"; \
	fi; \
	echo "Setting up .venv with $$("$$python" --version)"; \
	"$$uv" sync --frozen --all-extras --python "$$python" --quiet; \
	touch $(SYNCED)
