# What people call, and .ci/run. `make help` lists it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The demo keeps its state here, and its programs write their files to /tmp/reconciler-demo.
DEMO_STATE := build/demo-state
DEMO_FLAGS := --data $(DEMO_STATE) --secrets-dir examples/secrets --allow-write /tmp/reconciler-demo

# What a busy machine builds once is not to slow down whoever works on it.
NICE := nice -n 5

.PHONY: help setup demo run system kubernetes sops cluster test test-long test-planted check bench screenshots docs wheel lock clean

help:
	@echo "setup      install everything into .venv, and build the pulumi CLI where there is none"
	@echo "demo       set up, and make deployments.d true with the embedded engine"
	@echo "run        the daemon over deployments.d; FLAGS=--console shows the console, too"
	@echo "check      style, types, import layers, spelling"
	@echo "test       all tests but the long ones"
	@echo "test-long  10,000 simulated weeks (hours); 400 deployments over killed workers;"
	@echo "           50,000 files touched at once; 10,000 specs under a daemon that is killed;"
	@echo "           10,000 cron expressions against cronsim and systemd; pods of a real Kubernetes (root)"
	@echo "test-planted  plant bugs one at a time, and see that the tests find each"
	@echo "bench      measure, as ratios in one run"
	@echo "screenshots  take the pictures of the console that docs/ shows"
	@echo "docs       write the reference pages from the code, and build the site of docs/ in build/docs"
	@echo "wheel      build the package, in build/dist"
	@echo "lock       pin the newest versions that pyproject.toml allows"

setup: $(STAMP)
	@$(BIN)/python -m tools.build_pulumi

$(STAMP): requirements/dev.lock requirements/uv.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.lock
	$(BIN)/uv pip sync --quiet --require-hashes requirements/dev.lock
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e .
	@touch $(STAMP)

demo: setup
	@mkdir -p /tmp/reconciler-demo
	@chmod go= examples/secrets
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/reconciler run --once $(DEMO_FLAGS) deployments.d

run: setup
	@mkdir -p /tmp/reconciler-demo
	@chmod go= examples/secrets
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/reconciler run deployments.d $(DEMO_FLAGS) $(FLAGS)

system:
	@sh tools/install_system.sh

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

kubernetes: $(STAMP)
	@$(NICE) $(BIN)/python -m tools.build_kubernetes

sops: $(STAMP)
	@$(NICE) $(BIN)/python -m tools.build_sops

cluster: $(STAMP)
	@$(NICE) $(BIN)/python -m tools.build_kubernetes --cluster

# They wait for real parts a quarter of their time: three at once keep two cores busy.
test: system setup kubernetes sops
	PYTHONHASHSEED=0 $(BIN)/pytest -n 3 --dist worksteal

test-long: system setup cluster
	SIMULATION_SEEDS=10000 SIMULATION_DAYS=7 PYTHONHASHSEED=0 $(BIN)/pytest -q -n 2 --dist worksteal --timeout 7200 tests/simulation
	CRON_PAIRS=10000 $(BIN)/pytest -q -rP -n 2 --dist worksteal --timeout 7200 \
	  tests/unit/test_cron_agreement.py tests/unit/test_cron_systemd.py
	$(BIN)/pytest -q -n 0 -m cluster tests/cluster
	CHAOS_STACKS=40 CHAOS_DEPLOYMENTS=400 CHAOS_KILL_EVERY_S=2 CHAOS_KILLS=10000 \
	  $(BIN)/pytest -q -s --timeout 7200 tests/postgres/test_chaos.py
	BURST_FILES=50000 KILL_SPECS=10000 KILL_CHANGES=1000 KILLS=10 KILL_SETTLE=30s \
	  $(BIN)/pytest -q -s -n 0 --timeout 7200 tests/bursts

test-planted: setup
	@$(BIN)/python -m tests.planted

bench: setup
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.bench $(WHAT)

screenshots: system setup
	@$(BIN)/python -m tests.console.screenshots

docs: $(STAMP)
	@$(BIN)/python -m tools.reference
	@$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -c tools/site -d build/doctrees docs build/docs
	@echo "build/docs/index.html"

wheel: $(STAMP)
	@$(BIN)/uv build --quiet --wheel --python $(BIN)/python --no-build-isolation --out-dir build/dist
	@ls build/dist/*.whl

lock: $(STAMP)
	$(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links --universal --python-version 3.11 \
	  --extra dev pyproject.toml -o requirements/dev.lock

clean:
	rm -rf $(VENV) build *.egg-info
