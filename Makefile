# `make help` lists the targets. Each is safe to run twice.
PYTHON ?= python3
# Another build of torch: make setup TORCH_INDEX_URL=https://…  (default: the one pip finds)
TORCH_INDEX_URL ?=

BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet

# For what needs torch and a few wheels alone: .venv's Python, or without .venv one that finds the wheels in .wheels
LIGHT := $(if $(wildcard $(BIN)/python),$(BIN)/python,PYTHONPATH=.wheels:$$PYTHONPATH $(PYTHON))

.PHONY: help setup demo test other-cpu browser check bench images gpu gpu-record up

help:  ## lists the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/ready  ## makes .venv with everything pinned

.venv/ready: pyproject.toml constraints.txt halftime/__init__.py
	$(PYTHON) -m venv .venv
	$(if $(TORCH_INDEX_URL),$(PIP) install --no-deps --index-url $(TORCH_INDEX_URL) --constraint constraints.txt torch)
	$(PIP) install --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup  ## benchmarks a small transformer over HTTP and prints the report
	@$(BIN)/halftime run examples/transformer.json --output demo-report.json --output demo-report.md; \
	status=$$?; case $$status in 0|1|3) echo "Wrote demo-report.json and demo-report.md.";; *) exit $$status;; esac

test: setup browser  ## runs all tests
	# One thread: torch's would wait for each other. Three processes: for 2 cores, as much of it is waiting.
	@OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 3 --dist worksteal

other-cpu: setup  ## the main road once more, on a CPU made to look like one without half-precision arithmetic
	ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 OMP_NUM_THREADS=1 \
	$(BIN)/pytest tests/e2e/test_main_road.py tests/worker/proof/test_precision_support.py tests/worker/models/test_models_and_data.py

browser:  ## installs Chromium for the browser tests, where it is missing and apt-get may
	@if command -v chromium || command -v chromium-browser || command -v google-chrome; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			chromium fonts-dejavu-core >/dev/null || echo "Chromium could not be installed: no browser tests."; \
	else echo "There is no Chromium: no browser tests."; fi

check: setup  ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: setup  ## measures Halftime itself; results in benchmarks/results/
	$(BIN)/python -m benchmarks

images: setup  ## builds and runs the container images, as root on Debian even without an engine; 5 to 15 minutes
	$(BIN)/python -m testing.images $(ARGS)

gpu:  ## the tests that need a CUDA device
	$(LIGHT) -m pytest -m gpu tests/gpu

gpu-record:  ## what to run first on a new kind of GPU: 8 minutes, a record in benchmarks/results/first_contact/
	$(LIGHT) -m testing.first_contact $(ARGS)

up: setup  ## the API and one worker, until Ctrl-C
	$(BIN)/halftime up
