# `make help` lists the targets. Each can be run repeatedly.
PYTHON ?= python3
# Another build of torch: make setup TORCH_INDEX_URL=https://…  (default: the one pip finds)
TORCH_INDEX_URL ?=

BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet

# Python for targets that need only torch and a few wheels: .venv's, or without .venv one with .wheels on its path
LIGHT := $(if $(wildcard $(BIN)/python),$(BIN)/python,PYTHONPATH=.wheels:$$PYTHONPATH $(PYTHON))

.PHONY: help setup demo test other-cpu browser architectures check bench images gpu gpu-record up

help:  ## lists the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/ready  ## creates .venv with pinned versions

.venv/ready: pyproject.toml constraints.txt halftime/__init__.py
	$(PYTHON) -m venv .venv
	$(if $(TORCH_INDEX_URL),$(PIP) install --no-deps --index-url $(TORCH_INDEX_URL) --constraint constraints.txt torch)
	$(PIP) install --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup  ## benchmarks a small transformer over HTTP and prints the report
	@$(BIN)/halftime run examples/transformer.json --output demo-report.json --output demo-report.md; \
	status=$$?; case $$status in 0|1|3) echo "Wrote demo-report.json and demo-report.md.";; *) exit $$status;; esac

test: setup browser  ## runs all tests
	# One thread per process: torch's threads would wait for each other. Three processes on 2 cores: tests often wait.
	@OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 3 --dist worksteal

other-cpu: setup  ## runs the main tests as on a CPU without half-precision arithmetic
	ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 OMP_NUM_THREADS=1 \
	$(BIN)/pytest tests/e2e/test_main_road.py tests/worker/proof/test_precision_support.py tests/worker/models/test_models_and_data.py

browser:  ## installs Chromium for the browser tests, if it is missing and apt-get can
	@if command -v chromium || command -v chromium-browser || command -v google-chrome; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			chromium fonts-dejavu-core >/dev/null || echo "Could not install Chromium: skipping browser tests."; \
	else echo "Chromium is missing: skipping browser tests."; fi

architectures: setup  ## trains every architecture of the transformers library once, at toy size; an hour on 2 cores
	@OMP_NUM_THREADS=1 $(BIN)/pytest -m architectures --numprocesses 2 tests/worker/models/transformers tests/cases

check: setup  ## runs ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: setup  ## runs the benchmarks of Halftime itself; results in benchmarks/results/
	$(BIN)/python -m benchmarks

images: setup  ## builds and runs the container images, as root on Debian even without an engine; 5 to 15 minutes
	$(BIN)/python -m testing.images $(ARGS)

gpu:  ## runs the tests that need a CUDA device
	$(LIGHT) -m pytest -m gpu tests/gpu

gpu-record:  ## records a new kind of GPU in 8 minutes; results in benchmarks/results/first_contact/
	$(LIGHT) -m testing.first_contact $(ARGS)

up: setup  ## runs the API and one worker until Ctrl-C
	$(BIN)/halftime up
