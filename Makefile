# fqconsole: `make run` opens the console, `make test` runs the tests; both make what they need first.
#
# PYTHON=/path/to/python   use that environment as it is: no venv is made and nothing in it is touched;
#                          packages it lacks go into .site/, from the local wheels in WHEELS=DIR only
# ARGS="..."               more arguments for pytest, or for fqconsole in `make run`

.PHONY: run test faults fuzz docs lint bench gpu shot pins sbom audit setup clean
.DEFAULT_GOAL := run

TORCH := torch==2.13.0
JOBS ?= 2

ifdef PYTHON

PY := $(PYTHON)
READY := .site/.ready
export PYTHONPATH := $(CURDIR):$(CURDIR)/.site$(if $(PYTHONPATH),:$(PYTHONPATH))

else

PY := .venv/bin/python
READY := .venv/.ready
BASE := $(if $(wildcard .venv/bin/python),,$(shell for p in python3.11 python3.12 python3; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done))

endif

FQ := $(PY) -m fqconsole

# The console needs a terminal at both ends; anywhere else the five steps run headless.
run: $(READY)
	@if [ -t 0 ] && [ -t 1 ]; then $(FQ) $(ARGS); else $(FQ) demo $(ARGS); fi

# torch in each of several processes: one thread apiece, or they fight for the cores.
test: $(READY)
	@OMP_NUM_THREADS=1 $(PY) -m pytest \
	  $$($(PY) -c 'import xdist' 2>/dev/null && echo "-n $(JOBS) --dist worksteal") $(ARGS)

# Every fault of docs/reliability.md, one line each; `make test` runs a few of each kind.
faults: $(READY)
	@FQ_ALL_FAULTS=1 OMP_NUM_THREADS=1 $(PY) -m pytest tests/faults -v --no-header \
	  $$($(PY) -c 'import xdist' 2>/dev/null && echo "-n $(JOBS) --dist worksteal") $(ARGS)

# New examples for the tests that spoil files and values at random, for as long as you like.
fuzz: $(READY)
	@OMP_NUM_THREADS=1 $(PY) -m pytest -m hypothesis --hypothesis-profile=default $(ARGS)

lint: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -c 'import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())'

# The pages of docs/ as a site in build/site, with a reference made from the code; broken links are errors.
docs: $(READY)
	@$(PY) -c 'import mkdocs' 2>/dev/null || $(PY) -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[docs]"
	$(PY) -m mkdocs build --strict --quiet

# All of them, or one with its arguments: make bench BENCH=quality ARGS="--models demo"
BENCH ?= $(filter-out on_gpu,$(patsubst benchmarks/%.py,%,$(wildcard benchmarks/[a-z]*.py))) \
  $(patsubst benchmarks/%/__main__.py,%,$(wildcard benchmarks/[a-z]*/__main__.py))
bench: $(READY)
	@for name in $(BENCH); do echo "== benchmarks.$$name"; $(PY) -m benchmarks.$$name $(ARGS) || exit 1; done

# What a GPU is needed for: its tests, then the benchmarks, as far as BUDGET go; all that is printed lies in OUT.
OUT ?= build/on-gpu
BUDGET ?= 3600
gpu: $(READY)
	@$(PY) -m benchmarks.on_gpu --out $(OUT) --seconds $(BUDGET) $(ARGS)

# The picture in the README: the preview of the first built-in model.
shot: $(READY)
	$(FQ) shot models --press enter --columns 100 --lines 32 --out docs/console.svg $(ARGS)

# requirements-hashed.txt from constraints.txt; needs uv (UV=/path/to/uv) and a package index.
# torch stays out: which build of it is right is the machine's business.
UV ?= uv
CYCLONEDX := 7.5.0
PIP_AUDIT := 2.10.1
pins:
	@mkdir -p build
	@grep -v -e '^#' -e '^torch==' constraints.txt > build/pins.in
	@{ echo "# constraints.txt without torch, each file by its hash; \`make pins\` writes it. Install with"; \
	  echo "# pip install --require-hashes --no-deps -r requirements-hashed.txt"; \
	  $(UV) pip compile -q --no-deps --generate-hashes --no-header --no-annotate --python-version 3.11.5 build/pins.in; \
	} > build/pins.txt && mv build/pins.txt requirements-hashed.txt

# What is installed, as CycloneDX, in build/sbom.json; and what is known to be unsafe of it.
# Both tools get an environment of their own; the second asks the advisory service of the package index.
sbom: $(READY) build/supply/.ready
	@build/supply/bin/cyclonedx-py environment $(PY) --output-format JSON --output-file build/sbom.json
	@echo "wrote build/sbom.json"

audit: build/supply/.ready
	@build/supply/bin/pip-audit --disable-pip --no-deps --requirement requirements-hashed.txt

build/supply/.ready:
	@$(or $(BASE),$(PY)) -m venv build/supply
	@build/supply/bin/pip install -qq --disable-pip-version-check cyclonedx-bom==$(CYCLONEDX) pip-audit==$(PIP_AUDIT)
	@touch $@

setup: $(READY)

clean:
	rm -rf .venv .site build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache \
	  .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

ifdef PYTHON

# Made again when the environment or the list of what is needed changes.
.site/.ready: pyproject.toml .ci/install_missing.py .site/.python
	@$(PYTHON) .ci/install_missing.py --into .site --wheels "$(WHEELS)"
	@touch $@

.site/.python: FORCE
	@mkdir -p .site
	@echo "$(PYTHON) $(WHEELS)" | cmp -s - $@ || echo "$(PYTHON) $(WHEELS)" > $@

FORCE:

else

.venv/bin/python:
	@[ -n "$(BASE)" ] || { echo "fqconsole: no Python 3.11 or newer was found. Install one, or give PYTHON=/path/to/python." >&2; exit 1; }
	@echo "Making .venv with $(BASE); the first time takes a few minutes." >&2
	@$(BASE) -m venv .venv || { rm -rf .venv; exit 1; }

# First and alone: a machine that offers a CPU build of this version then takes it, and nothing that is
# installed afterwards asks for another.
.venv/.torch: constraints.txt | .venv/bin/python
	@echo "Installing $(TORCH)." >&2
	@.venv/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt $(TORCH) >&2
	@touch $@

.venv/.ready: .venv/.torch pyproject.toml constraints.txt
	@echo "Installing fqconsole and its tools." >&2
	@.venv/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[dev]" >&2
	@touch $@

endif
