# yolofleet: `make demo` shows the main job, `make test` runs everything; `make help` lists the rest.
SHELL := /bin/bash
PYTHON ?= python3
PY := .venv/bin/python
UV := .venv/bin/uv
DOCKER ?= docker
IMAGE_PREFIX ?= localhost/yolofleet/
IMAGE_TAG ?= dev
BUILD_ARGS ?=
export PATH := $(CURDIR)/.venv/bin:$(PATH):/usr/local/go/bin

.DEFAULT_GOAL := help
.PHONY: help setup prerequisites demo test test-unit test-e2e test-slow verify generate lint format types layers lock \
        bench-operator bench-planner bench-scaling cluster-up cluster-down images images-docker image-bench clean

help: ## what there is to make
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: .venv/.done ## the Python environment, from hashed locks

.venv/.done: locks/dev.txt pyproject.toml
	@echo "==> Python environment (.venv)"
	@test -x $(PY) || $(PYTHON) -m venv .venv
	@test -x $(UV) || $(PY) -m pip install --quiet --disable-pip-version-check uv==0.13.8
	@$(UV) pip install --quiet --python $(PY) --require-hashes -r locks/dev.txt
	@$(UV) pip install --quiet --python $(PY) --no-deps -e .
	@touch $@

prerequisites: ## the Debian packages that the bare cluster needs (root)
	@e2e/prerequisites.sh

demo: setup prerequisites ## from nothing to boxes: cluster, chart, engine, Triton, a real client
	@$(PY) -m e2e.demo $(DEMO_ARGS)

test: setup prerequisites ## unit, golden, property tests, and the stories on the bare cluster
	@$(PY) -m pytest $(PYTEST_ARGS)

test-unit: setup ## only what needs no cluster
	@$(PY) -m pytest tests $(PYTEST_ARGS)

test-e2e: setup prerequisites ## only the stories on the bare cluster
	@$(PY) -m pytest e2e $(PYTEST_ARGS)

test-slow: setup prerequisites ## the stories that take many minutes each, on the bare cluster
	@$(PY) -m pytest -m slow e2e $(PYTEST_ARGS)

verify: setup generate lint types layers ## regenerate and check; fails on any difference
	@git diff --exit-code --stat -- crds charts docs || { echo "generated files differ: commit them"; exit 1; }
	@test -z "$$(git status --porcelain -- crds charts docs)" || { git status --short -- crds charts docs; exit 1; }
	@echo "verify: clean"

generate: setup ## crds/, the chart's schema and README, docs tables
	@$(PY) tools/generate.py

lint: setup
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .

format: setup ## let ruff write
	@.venv/bin/ruff check --fix --quiet . || true
	@.venv/bin/ruff format --quiet .

types: setup
	@.venv/bin/mypy

layers: setup
	@.venv/bin/lint-imports --no-logo 2>/dev/null || .venv/bin/lint-imports

lock: setup ## resolve the locks anew
	@$(UV) pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
	  --extra operator --extra dev pyproject.toml -o locks/dev.txt
	@$(UV) pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
	  --extra operator pyproject.toml -o locks/operator.txt
	@$(UV) pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
	  e2e/images/requirements/tools.in -o locks/image-tools.txt
	@$(UV) pip compile -q --python-platform x86_64-manylinux_2_39 --only-binary :all: --generate-hashes \
	  --no-emit-index-url --no-header --python-version 3.12 model_repo_builder/image/requirements.in \
	  --override model_repo_builder/image/requirements.override -o locks/image-builder-triton.txt

bench-operator: setup prerequisites ## the operator at 1,000, 5,000 and 10,000 YoloDeployments on a real API server
	@$(PY) -m e2e.bench.operator $(BENCH_ARGS)

bench-start: setup prerequisites ## where the seconds go from an apply to the first frame, with an engine built before
	@$(PY) -m e2e.bench.start $(BENCH_ARGS)

bench-planner: setup ## GPUs, bounds, time and memory of the planner; PARVAGPU=folder adds the published benchmark
	@$(PY) -m tools.bench $(if $(PARVAGPU),--parvagpu $(PARVAGPU)) $(BENCH_ARGS)

bench-scaling: setup ## scaling policies on arrival traces: seconds over, slice-hours, Pareto plot (BENCH_ARGS=--quick)
	@$(PY) -m e2e.bench.scaling $(BENCH_ARGS)

cluster-up: setup prerequisites ## a bare cluster that stays
	@$(PY) -m e2e.clusters up

cluster-down: setup ## and its end
	@$(PY) -m e2e.clusters down

images: setup prerequisites ## the bench's images as one archive, out/images.tar
	@mkdir -p out && $(PY) -m e2e.images operator builder triton --archive out/images.tar && echo "out/images.tar"

images-docker: ## the images of operator and builder, by Docker (docs/images.md)
	$(DOCKER) build --file operator/Dockerfile --tag $(IMAGE_PREFIX)operator:$(IMAGE_TAG) $(BUILD_ARGS) .
	$(DOCKER) build --file model_repo_builder/Dockerfile --tag $(IMAGE_PREFIX)builder:$(IMAGE_TAG) $(BUILD_ARGS) .

image-bench: ## the bench in a container, by Docker (docs/images.md)
	$(DOCKER) build --file e2e/Dockerfile --tag $(IMAGE_PREFIX)bench:$(IMAGE_TAG) $(BUILD_ARGS) .

clean: ## the environment and outputs; caches stay
	rm -rf .venv out dist
