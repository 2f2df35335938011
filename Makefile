# make demo: from the demo's videos to metrics. make test: the tests. Nothing else is needed before.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Without a terminal's own Python environment: what .venv holds is all there is.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.PHONY: install demo test test-cluster test-faults lint audit bench bench-gpu lock clean

install: $(STAMP)

demo: $(STAMP)
	$(BIN)/snakemake all results/report.html
	$(BIN)/python benchmarks/demo_tracking.py
	$(BIN)/python benchmarks/demo_quality.py

test: $(STAMP)
	$(BIN)/python -m pytest

# On a Slurm that is started for it, and in pods that are processes; fails where Debian's slurm-wlm,
# munge and rsync are not installed.
test-cluster: $(STAMP)
	TEST_CLUSTER=1 $(BIN)/python -m pytest -m cluster tests/cluster tests/kubernetes

# Runs that are killed at random moments in every rule, and full disks: an hour, and not in CI.
ROUNDS ?=
SEED ?= 0
test-faults: $(STAMP)
	$(BIN)/python -m pytest -n 0 -m faults -s $(if $(ROUNDS),--fault-rounds $(ROUNDS)) --fault-seed $(SEED) tests/faults

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/shellcheck envs/install.sh
	$(BIN)/hadolint envs/Dockerfile
	$(BIN)/mypy

# Known vulnerabilities of what is locked: asks PyPI, so it takes the internet.
audit: $(STAMP)
	$(BIN)/pip-audit --strict --disable-pip --no-deps --requirement requirements.lock

bench: $(STAMP)
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python benchmarks/fine_tuning.py
	$(BIN)/python benchmarks/engine.py

bench-gpu: $(STAMP)
	$(BIN)/python benchmarks/gpu.py --device cuda
	$(BIN)/python benchmarks/gpu.py --device cuda --precision bfloat16

# Made from scratch when the lock changes, so that nothing older lingers in it. Python compiles what is
# imported, which is a part of it.
$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

# The CPU build of torch is enough to resolve the rest; its version is pinned here alone.
lock: $(STAMP)
	$(BIN)/python -m pip install --quiet pip-tools
	printf 'torch==2.13.0\n' > $(VENV)/constraints.txt
	$(BIN)/pip-compile --quiet --extra dev --extra slurm --extra kubernetes --strip-extras \
	  --no-header --no-emit-find-links \
	  --no-emit-index-url --no-emit-options --constraint $(VENV)/constraints.txt \
	  --output-file requirements.lock pyproject.toml
	sed -i -e 's/^\(torch==[0-9.]*\)+cpu/\1/' -e '/^ *#   -c /d' requirements.lock

clean:
	rm -rf results logs .snakemake
