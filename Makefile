# Everything a clone needs: Python 3.11+, make and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CHOSEN := not slow
EXAMPLES := quick
# Where byte code is not kept, each of the many processes of a platform compiles the package anew: half a second.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup style lint format test test-all test-unit test-ray demo demo-cluster bench chaos docs lock proto clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements.lock
	@# pip would compile on one core, the packages' own tests too; some of what they ship is for other Pythons
	@$(BIN)/python -m compileall -q -j 0 -x 'site-packages/.*/tests?/' "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" >/dev/null 2>&1 || true
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup: $(STAMP)  ## create .venv from requirements.lock

demo: setup  ## the closed loop on a year of real flights
	$(BIN)/raymlops demo

demo-cluster: setup  ## the loop on three nodes that share no disk and are killed; ARGS="--weeks 4 --per-week 300"
	$(BIN)/python -m benchmarks.demo_cluster $(ARGS)

style: setup  ## format, rules, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

lint: style  ## style, import contracts, sizes
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/repo/test_sizes.py

format: setup  ## rewrite the sources in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: style test-unit test-ray  ## every check, and the tests but for the slow ones; contracts and sizes are among them

test-all: CHOSEN := slow or not slow
test-all: EXAMPLES := suite
test-all: test  ## every check and every test, those that need Ray on a cluster of somebody else once more
	$(BIN)/python -m pytest tests/ray --foreign-cluster -m "$(CHOSEN)"

test-unit: setup  ## the tests that need no Ray, on every core
	@# each of the processes has a core: threads of OpenMP beside each other would only wait for one another
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --dist worksteal --hypothesis-profile=$(EXAMPLES) \
		tests/unit tests/contract tests/repo examples -m "not ray and not e2e and ($(CHOSEN))"

test-ray: setup  ## the tests on one local Ray cluster
	$(BIN)/python -m pytest tests/ray tests/e2e -m "$(CHOSEN)"

bench: setup  ## the figures of docs/benchmarks.md
	$(BIN)/python -m benchmarks.run

chaos: setup  ## kills everything under load and judges every answer; ARGS="--kills 200 --trees 10 --seed 7"
	$(BIN)/python -m benchmarks.chaos $(ARGS)

docs: setup  ## the site of the documentation, in site/; needs no network
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

lock:  ## resolve requirements.lock again (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--no-header --all-extras --group dev pyproject.toml -o requirements.lock

proto:  ## generate the gRPC messages again (needs grpcio-tools)
	python -m grpc_tools.protoc -I raymlops/serving/front --python_out=raymlops/serving/front \
		--pyi_out=raymlops/serving/front open_inference.proto

clean:  ## remove what setup and the tools made
	rm -rf $(VENV) .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache site
