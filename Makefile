# Everything lives in .venv (and, for benchmarks, .venv-bench); nothing outside this folder is written but caches.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv
UV_VERSION := 0.13.8
PROJECT := pyproject.toml constraints.txt
PEERS  := .venv-bench
LOWEST := .venv-lowest

.DEFAULT_GOAL := help
.PHONY: help demo test test-kill test-fleet fuzz test-lowest quick bench check format schemas lock build clean

help:  ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

$(VENV)/.run: $(VENV)/.uv $(PROJECT)
	$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[local]'
	@touch $@

$(VENV)/.test: $(VENV)/.run
	$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[local,airflow,postgres]' --group test --group tools
	@touch $@

$(PEERS)/.made: $(VENV)/.uv $(PROJECT) $(wildcard benchmarks/requirements/*.txt)
	for name in peers litellm ours; do $(UV) venv --quiet --clear --python $(BIN)/python $(PEERS)/$$name || exit; done
	$(UV) pip install --quiet --python $(PEERS)/peers/bin/python --requirement benchmarks/requirements/peers.txt
	$(UV) pip install --quiet --python $(PEERS)/litellm/bin/python --requirement benchmarks/requirements/litellm.txt
	$(UV) pip install --quiet --python $(PEERS)/ours/bin/python --constraint constraints.txt --editable '.[postgres]'
	@touch $@

demo: $(VENV)/.run  ## Set up and make a small speech dataset with the local service
	$(BIN)/tts-pipeline demo

# Three on two cores: some wait for Airflow, for a grace or for a latency.
test: $(VENV)/.test  ## Set up and run all tests
	$(BIN)/pytest -n 3

test-kill: $(VENV)/.test  ## Kill a job 100 times, one on an object store 20 times, and machines that share a bucket (half an hour)
	$(BIN)/pytest -m kill -s

test-fleet: $(VENV)/.test  ## Kill one of two Celery workers that share an account (minutes, on a quiet machine)
	$(BIN)/pytest -m fleet -s tests/airflow/test_fleet.py

fuzz: $(VENV)/.test  ## Change 20,000 answers on their way, 5,000 files at a destination; 400 bills (some minutes)
	$(BIN)/pytest -m fuzz -s tests/client/test_fuzz_wire.py tests/mutations tests/test_money_property.py

# Pure code, the client and the dataset; what starts services, kills processes or fills disks is left to `make test`.
CORE := $(addprefix tests/,catalog wire flow client dataset estimates test_text.py test_money.py test_schema.py \
        test_structure.py test_public.py)

quick: $(VENV)/.test  ## The contributor's loop: the core's quick tests, within a minute
	$(BIN)/pytest -n 2 -m 'not slow' $(CORE)

test-lowest: $(VENV)/.uv  ## The quick tests of the core and of Polars' side with the lowest versions allowed
	$(UV) venv --quiet --clear --python $(BIN)/python $(LOWEST)
	$(UV) pip compile --quiet --resolution lowest-direct --only-binary :all: --extra local --no-header \
	    --output-file $(LOWEST)/lowest.txt pyproject.toml
	$(UV) pip install --quiet --python $(LOWEST) --constraint $(LOWEST)/lowest.txt --editable '.[local]' --group test
	$(LOWEST)/bin/pytest -n 2 -m 'not slow and not kill and not fuzz' $(CORE) $(addprefix tests/,audio job report frames exports)

bench: $(VENV)/.test $(PEERS)/.made  ## Measure beside what people use instead (half an hour; BENCH=--quick: minutes)
	$(BIN)/python -m benchmarks $(BENCH)

check: $(VENV)/.test  ## Format, lint and types, as CI runs them
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.test  ## Format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

schemas: $(VENV)/.test  ## Write schemas/ from the code
	$(BIN)/python -m schemas

# Not lhotse: it brings PyTorch, whose build is the choice of the machine.
PINNED := --extra local --extra airflow --extra huggingface --extra postgres

lock: $(VENV)/.uv  ## Write constraints.txt: every version pinned
	$(UV) pip compile --quiet --universal --python-version 3.11 $(PINNED) --group test --group tools --upgrade \
	    --no-annotate --no-header --no-emit-index-url --no-emit-find-links --output-file constraints.txt pyproject.toml

build: $(VENV)/.test  ## Build the wheel
	$(UV) build --quiet --wheel

clean:  ## Remove everything that was made here
	rm -rf $(VENV) $(PEERS) $(LOWEST) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
