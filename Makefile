# Baekman's one door, for people and for CI: `make help` lists what can be asked of it.
#
# .venv is made once from the standard library's venv, then filled from a hash-pinned lock by uv (4 s) or, where uv cannot
# be had, by pip (100 s). Stamps inside .venv make a second run free. The development lock contains the runtime lock, so
# once it is in, `make demo` asks for nothing more and the two never undo each other.

.NOTPARALLEL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$p -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
VENV := .venv
PY := $(VENV)/bin/python
UV := $(VENV)/bin/uv
RUNTIME := $(if $(wildcard $(VENV)/.dev),$(VENV)/.dev,$(VENV)/.runtime)
DEV := $(VENV)/.dev
WORKERS ?= 2
ROUNDS ?= 100
PROFILE ?= quick
SIZE ?= not long and not again

# A home that is unset or cannot be written must not matter: then the caches stay in .venv.
ifeq ($(shell test -n "$$HOME" && test -d "$$HOME" && test -w "$$HOME" && echo yes),)
export UV_CACHE_DIR ?= $(CURDIR)/$(VENV)/.cache/uv
export PIP_CACHE_DIR ?= $(CURDIR)/$(VENV)/.cache/pip
endif
# A network that opens TLS on its way is trusted by the machine's own certificates, which uv would not look at.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem),)
export UV_SYSTEM_CERTS ?= true
endif
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Without byte code every process compiles all it imports anew: 7 s of work instead of 3 before the service can answer.
unexport VIRTUAL_ENV PYTHONHOME PYTHONPATH PYTHONDONTWRITEBYTECODE

.PHONY: help demo serve migrate test test-again test-all faults check fix docs attack sbom load bench bench-quick lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

demo: $(RUNTIME)  ## show the whole product on sample data, from empty to a delivered extract (ARGS=... for options)
	$(PY) -m app.cli demo $(ARGS)

serve: $(RUNTIME)  ## run the service on this machine, data in ./var
	$(PY) -m app.cli serve $(ARGS)

migrate: $(RUNTIME)  ## bring the database up to the newest migration
	$(PY) -m app.cli migrate $(ARGS)

test: $(DEV)  ## run a test of every promise, in minutes (ARGS='tests/unit -k name' to choose)
	$(PY) -m pytest -n $(WORKERS) -m "$(SIZE)" $(ARGS)

test-again: $(DEV)  ## run what says these at more length, or on the other database
	$(PY) -m pytest -n $(WORKERS) -m "again and not long" $(ARGS)

test-all: $(DEV)  ## run every test, as CI does (PROFILE=thorough: the generative ones with more cases, drawn anew)
	$(PY) -m pytest -n $(WORKERS) --hypothesis-profile=$(PROFILE) $(ARGS)

faults: $(DEV)  ## kill, interleave and repeat at random (ROUNDS=100)
	$(PY) -m pytest -n $(WORKERS) -m faults --hypothesis-profile=thorough --rounds=$(ROUNDS) $(ARGS)

check: $(DEV)  ## lint, format, types, import contracts, and migrations in step with the models
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports
	$(PY) -m app.cli check-migrations

fix: $(DEV)  ## let the tools mend style and format
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

docs: $(RUNTIME)  ## write the pages of docs/ that follow from the code
	$(PY) -m docs.generate

attack: $(RUNTIME)  ## attack an extract as its holder could (ARGS='var/demo/generation-2', after make demo)
	$(PY) -m app.cli attack $(ARGS)

sbom: $(RUNTIME)  ## print what the image is made of, as CycloneDX JSON, from requirements.lock
	@$(PY) deploy/sbom.py $(ARGS)

load: $(DEV)  ## readers, uploads, extracts and withdrawals at once for ten minutes (ARGS='--minutes 2')
	$(PY) -m benchmarks $(if $(ARGS),load $(ARGS),all load)

bench: $(DEV)  ## measure all of it, for hours (ARGS='NAME ...' one; numbers of docs come from here)
	@if [ -f benchmarks/requirements.lock ]; then $(MAKE) --no-print-directory $(VENV)-bench/.ready; fi
	$(PY) -m benchmarks $(or $(ARGS),all)

bench-quick: $(DEV)  ## measure on small data, in minutes
	$(PY) -m benchmarks quick $(ARGS)

lock: $(VENV)/.made  ## resolve the dependencies of pyproject.toml anew and pin them by hash
	$(COMPILE) pyproject.toml -o requirements.lock
	$(COMPILE) pyproject.toml -c requirements.lock --group dev -o requirements-dev.lock
	printf 'pyspark[connect]>=4.3\npandas<3\n' | $(COMPILE) - -c requirements-dev.lock -o requirements-spark.lock
	echo uv | $(COMPILE) - -o requirements-uv.lock
	if [ -f benchmarks/requirements.in ]; then $(COMPILE) benchmarks/requirements.in -o benchmarks/requirements.lock; fi

clean:  ## remove what the tools made; ./var, which holds data, stays
	rm -rf $(VENV) $(VENV)-bench .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .schemathesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

COMPILE = $(UV) pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 --no-header \
	--no-emit-index-url --no-emit-find-links

# sync <venv>,<lock>[,<unless>]: exactly what the lock says; by pip where uv is missing or knows of no registry but pip does.
define sync
	@if $(or $(3),false); then exit 0; fi; echo "installing $(2) into $(1)"; if [ -x $(UV) ] && $(UV) pip sync --quiet --python $(1)/bin/python --require-hashes $(2); then :; else \
		echo "uv could not, so pip does it; this takes minutes"; \
		$(1)/bin/python -m pip install --quiet --require-hashes -r $(2); fi
endef

$(VENV)/.made:
	@if [ -z "$(PYTHON)" ]; then echo "Python 3.11 or newer with its venv module is needed (or say PYTHON=...)" >&2; exit 1; fi
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11" >&2; exit 1; }
	@echo "making $(VENV) with $(PYTHON)"
	@[ -x $(PY) ] && $(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(PY) -m pip install --quiet --require-hashes -r requirements-uv.lock || echo "uv cannot be had; pip will do"
	@touch $@

$(VENV)/.runtime: $(VENV)/.made requirements.lock
	$(call sync,$(VENV),requirements.lock,[ -e $(DEV) ])
	@touch $@

$(VENV)/.dev: $(VENV)/.made requirements-dev.lock
	$(call sync,$(VENV),requirements-dev.lock)
	@touch $@

$(VENV)-bench/.ready: benchmarks/requirements.lock
	@$(PYTHON) -m venv --clear $(VENV)-bench
	$(call sync,$(VENV)-bench,benchmarks/requirements.lock)
	@touch $@
