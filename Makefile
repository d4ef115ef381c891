# Two commands to know: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOWEST := .venv-lowest
# Tests of the docs site and of type checkers, which need the tools of development.
OF_TOOLS := tests/unit/test_docs_site.py tests/unit/test_other_platforms.py tests/unit/test_typed_programs.py tests/unit/test_weft_chart.py
ARGS ?=
# Tests mostly wait for processes: more workers than cores. JOBS=0 runs them one after another.
JOBS ?= 6
# A file is one worker's, since its tests may share a mesh; files come in the order of tests/conftest.py.
DIST := --dist loadfile --no-loadscope-reorder

# The environment of a copied folder is a copy too, whose commands run the code of the folder that it was made in.
ifneq ($(wildcard $(STAMP)),)
ifeq ($(shell grep -sF '$(CURDIR)/$(BIN)/python' $(BIN)/weft),)
$(shell rm -rf $(VENV) $(LOWEST))
endif
endif

.DEFAULT_GOAL := help
CHECKS := check-pyright check-mypy check-rest
.PHONY: help demo demo-agents test test-lowest check $(CHECKS) bench chaos soak fuzz release-check images kube-apiserver gen settings man docs lock format clean

help: ## what there is
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

# The environment is made on first use and again only when the lock or the packaging changes. Compiled at once: weft is
# many processes, and where Python may not write bytecode each of them would compile everything anew (0.4 s).
# A network may have certificates of its own (a company's proxy): uv uses the system's, and if that is not enough pip
# installs the same files, checked by the same hashes, with the certificates that it is configured with.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "weft needs Python 3.11 or newer (PYTHON=... names one)"; exit 1; }
	@echo "making the environment in $(VENV) (once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(sed -n 's/^\(uv==[0-9.]*\).*/\1/p' requirements.lock)"
	@{ UV_SYSTEM_CERTS=1 $(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock && \
	  UV_SYSTEM_CERTS=1 $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable . ; } || \
	  { echo "uv could not install it, see above; pip tries, by its own configuration"; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement requirements.lock && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable . ; }
	@$(BIN)/python -m compileall -q coordinator agent client rpc cli testing services gen examples
	@touch $@

# The lowest versions of what weft itself needs, and the newest of what those need: as far from the lock as users can be.
$(LOWEST)/.installed: pyproject.toml $(STAMP)
	@echo "making the environment of the lowest allowed versions in $(LOWEST)"
	@rm -rf $(LOWEST)
	@$(BIN)/uv venv --quiet --python $(BIN)/python $(LOWEST)
	@UV_SYSTEM_CERTS=1 $(BIN)/uv pip compile --quiet --no-header --resolution lowest-direct --all-extras \
	  --python $(LOWEST)/bin/python pyproject.toml -o $(LOWEST)/versions.txt
	@UV_SYSTEM_CERTS=1 $(BIN)/uv pip install --quiet --compile-bytecode --python $(LOWEST)/bin/python \
	  --requirement $(LOWEST)/versions.txt --group test
	@UV_SYSTEM_CERTS=1 $(BIN)/uv pip install --quiet --python $(LOWEST)/bin/python --no-deps --editable .
	@touch $@

demo: $(STAMP) ## watch real work survive two crashes (ARGS=--json for one line of figures)
	@$(BIN)/weft demo $(ARGS)

demo-agents: $(STAMP) ## watch the ready services do one job together, with a picture at the end (ARGS=--json)
	@$(BIN)/python -m examples.demo_agents $(ARGS)

test: $(STAMP) ## the tests (ARGS='-m slow' for the long ones)
	@$(BIN)/python -m pytest -m "not slow" -n $(JOBS) $(DIST) $(ARGS)

test-lowest: $(LOWEST)/.installed ## the unit and store tests on the lowest versions that pyproject.toml allows
	@$(LOWEST)/bin/python -m pytest -m "not slow" -n $(JOBS) $(DIST) tests/unit tests/store $(OF_TOOLS:%=--ignore %) $(ARGS)

bench: $(STAMP) ## throughput and latency of calls and events (ARGS='--quick --json', '--only events')
	@$(BIN)/weft bench $(ARGS)

chaos: $(STAMP) ## faults under load, and what they cost (ARGS='--quick --json', '--store redis-fast --fault NAME --seed N')
	@$(BIN)/python -m tests.chaos $(ARGS)

overload: $(STAMP) ## three times the work for a minute, then each attack for 20 s, with their figures
	@TEST_OVERLOAD_S=60 TEST_ATTACK_S=20 $(BIN)/python -m pytest -m slow -s --timeout 600 tests/integration/test_overload.py tests/integration/test_attacks.py tests/integration/test_token_attacks.py tests/integration/test_greedy_callers.py $(ARGS)

soak: $(STAMP) ## the long tests whole, for which CI has no time: hours (ARGS='-k pool')
	@TEST_SOAK=1 $(BIN)/python -m pytest -m slow $(ARGS)

# Inputs are chosen by coverage where atheris can be installed, else at random.
fuzz: $(STAMP) ## give parsers any input (ARGS='--seconds 600 contract request')
	@$(BIN)/python -c 'import atheris' 2>/dev/null || \
	  UV_SYSTEM_CERTS=1 $(BIN)/uv pip install --quiet --python $(BIN)/python --group fuzz || \
	  echo "atheris cannot be installed here: inputs are chosen at random"
	@nice -n 19 $(BIN)/python -m tests.fuzz $(ARGS)

release-check: $(STAMP) ## build what is released into dist/, look into it, list and audit what it needs
	@$(BIN)/python scripts/release_check.py

images: ## build the images into build/images, by buildah, podman or docker (ARGS='sidecar --arch arm64 --build-arg BASE=…')
	@$(PYTHON) scripts/images.py $(ARGS)

kube-apiserver: ## build the API server of Kubernetes for the long tests: minutes of two cores
	@scripts/kube_apiserver.sh

gen: $(STAMP) ## generate Python from the protos
	@$(BIN)/python scripts/generate.py

settings: $(STAMP) ## write docs/settings.md, the tables of docs/how-to/metrics.md and docs/deploy/migrate-celery.md, and Grafana's dashboards
	@$(BIN)/python scripts/settings_table.py
	@$(BIN)/python scripts/metrics_table.py
	@$(BIN)/python scripts/celery_table.py
	@$(BIN)/python -m scripts.dashboards

man: $(STAMP) ## write the manual's pages into build/man, where wheels take them from
	@$(BIN)/python scripts/man_pages.py

docs: $(STAMP) ## build the docs site, which needs no network: build/site/html/index.html
	@$(BIN)/python scripts/docs_site.py

# Two at a time: both type checkers take most of a minute, on one core each.
check: $(STAMP) ## lint, types, contract, generated code, layout, sizes, documented settings, docs site
	@$(MAKE) --no-print-directory --jobs=2 $(CHECKS)

check-pyright:
	@$(BIN)/pyright

check-mypy:
	@$(BIN)/mypy

check-rest:
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/buf lint
	@scripts/breaking.sh
	@$(BIN)/python scripts/generate.py --check
	@$(BIN)/python scripts/layout.py
	@$(BIN)/python scripts/sizes.py
	@$(BIN)/python scripts/settings_table.py --check
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec deploy/compose/*.yaml deploy/observability/compose.yaml
	@$(BIN)/python scripts/metrics_table.py
	@$(BIN)/python scripts/celery_table.py --check
	@$(BIN)/python scripts/docs_site.py --check

format: $(STAMP) ## let ruff and buf format everything
	@$(BIN)/ruff check --fix-only --quiet || true
	@$(BIN)/ruff format --quiet
	@$(BIN)/buf format -w

lock: $(STAMP) ## resolve the newest allowed versions into requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 \
	  --all-extras --group dev --upgrade pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 \
	  --group release --upgrade -o requirements-release.lock

clean: ## remove the environment and the caches
	rm -rf $(VENV) $(LOWEST) .pytest_cache .mypy_cache .ruff_cache .hypothesis build
