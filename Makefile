# Everything runs from .venv, which the first target that needs it makes. `make` alone lists the rest.

PYTHON ?= python3
SEEDS  ?= 200
# More words for what runs: make test ARGS="-k placement -x", make bench ARGS=ingest
ARGS   ?=

PY    := .venv/bin/python
READY := .venv/ready

# The torch to install: constraints.txt's, unless you name one (TORCH="torch==2.12.0"). The name is
# kept in .venv for later runs; TORCH= goes back. Where pip looks for it is said by pip's own settings.
REMEMBERED := $(shell cat .venv/torch 2>/dev/null)
TORCH      ?= $(REMEMBERED)

# A PYTHONPATH meant for another program would shadow what .venv holds.
unexport PYTHONPATH PYTHONHOME
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo lab test test-slow test-gpu lint format sim bench docs pictures sdk constraints audit clean FORCE

help: ## what there is to do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup: $(READY) ## .venv with AI Farm and all it needs (PYTHON=python3.12, TORCH="torch==2.12.0")

demo: $(READY) ## a farm on this machine trains a model, alone and over three ranks (KEEP=1 leaves it up)
	@$(PY) examples/demo.py $(if $(KEEP),--keep)

# The notebooks are copied to lab/, once: there they are yours, and what they show stays out of git.
LAB := $(patsubst notebooks/%,lab/%,$(wildcard notebooks/*.ipynb))

lab: $(READY) $(LAB) ## JupyterLab with a farm on this machine, at the first notebook (ARGS=--no-browser)
	@$(PY) -m jupyterlab --ServerApp.root_dir=lab --LabApp.default_url=/lab/tree/quickstart.ipynb \
	  $(if $(filter 0,$(shell id -u)),--allow-root) $(ARGS)

lab/%.ipynb: | notebooks/%.ipynb
	@mkdir -p lab
	@cp $| $@

# Training in the tests is small: threads would only fight for the cores (measured: 4 times slower).
test test-slow sim: export OMP_NUM_THREADS := 1

test: $(READY) ## the tests (ARGS="-k placement")
	$(PY) -m pytest $(ARGS)

test-slow: $(READY) ## the long tests: kills, seeds, real training
	$(PY) -m pytest -m slow $(ARGS) || [ $$? -eq 5 ]  # 5: none selected

test-gpu: $(READY) ## the tests that need an NVIDIA GPU; without one they are skipped, saying so
	$(PY) -m pytest -m gpu tests/gpu $(ARGS)

lint: $(READY) ## style, types (JavaScript's too), and who may import whom
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports
	$(PY) tools/javascript.py

format: $(READY) ## puts the code in the shape that lint asks for
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

sim: $(READY) ## a farm on a virtual clock and a bad network, one history a seed (SEEDS=200, or SEED=17)
	SEEDS=$(SEEDS) $(PY) -m pytest tests/simulation $(ARGS)

bench: $(READY) ## measures the farm beside its raw limits: a table, and build/bench.json (ARGS=ingest)
	PYTHONPATH=tests $(PY) -m bench $(ARGS)

docs: $(READY) ## the pages under docs/ that are drawn from the code
	$(PY) docs/generate.py

pictures: $(READY) ## the pictures under docs/images, of a real farm in a real browser (ARGS=dashboard)
	PYTHONPATH=tests $(PY) docs/screenshots.py $(ARGS)

sdk: $(READY) ## the blocking half of the SDK, written from its asynchronous half (aifarm/sdk/aio)
	$(PY) tools/blocking.py

audit: ## asks pypi.org for known holes in what constraints.txt names (a mirror cannot answer that)
	"$(PYTHON)" -m venv build/audit
	build/audit/bin/python -m pip install --quiet pip-audit
	build/audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt

clean: ## removes .venv and everything that was built
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---------------------------------------------------------------- the environment

ifneq ($(TORCH),$(REMEMBERED))
$(READY): FORCE
endif

# hatchling builds the project: from .venv, so that a changed pyproject.toml needs no network.
$(READY): pyproject.toml constraints.txt
	@$(PY) -m pip --version >/dev/null 2>&1 || { \
	  "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "AI Farm needs Python 3.11 or newer, and $(PYTHON) is not one. Name another: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }; \
	  "$(PYTHON)" -c 'import ensurepip' 2>/dev/null || { \
	    echo "$(PYTHON) cannot make a virtual environment. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }; \
	  "$(PYTHON)" -m venv --clear .venv; }
	@rm -f $@
	@echo "Installing AI Farm into .venv; torch comes first and is most of it."
	@printf '%s' "$(TORCH)" > .venv/torch
	@cp constraints.txt .venv/constraints.txt
	@[ -z "$(TORCH)" ] || sed '1,/^# The rest/d' constraints.txt > .venv/constraints.txt
	@{ $(PY) -m pip install $(if $(TORCH),,-c .venv/constraints.txt) "$(or $(TORCH),torch)" \
	  && $(PY) -m pip install --quiet -c .venv/constraints.txt hatchling \
	  && $(PY) -m pip install --quiet -c .venv/constraints.txt --no-build-isolation -e '.[all,test]'; } || { \
	    echo "Nothing is ready: pip's reason stands above. It needs a network once; where it looks is said by pip's own settings (pip config list)." >&2; exit 1; }
	@touch $@

constraints: ## renews constraints.txt from what a fresh install resolves to today
	"$(PYTHON)" -m venv --clear build/constraints
	build/constraints/bin/python -m pip install --quiet "$(or $(TORCH),$(shell grep '^torch==' constraints.txt))"
	build/constraints/bin/python -m pip freeze --all > build/torch.txt
	build/constraints/bin/python -m pip install --quiet hatchling -e '.[all,test]'
	build/constraints/bin/python -m pip freeze --all --exclude-editable > build/all.txt
	@{ sed -n '/^#/p; /^torch==/q' constraints.txt; \
	   sed 's/+.*//' build/torch.txt | grep '^torch=='; \
	   grep -E -v '^(torch|pip|nvidia|cuda|triton)' build/torch.txt; \
	   printf '\n'; sed -n '/^# The rest/p' constraints.txt; \
	   grep -v -x -F -f build/torch.txt build/all.txt; } > build/constraints.txt
	mv build/constraints.txt constraints.txt
