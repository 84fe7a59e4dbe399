# Two commands: `make report` shows what the tool does, `make test` checks that it does it.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
STAMP  := $(VENV)/.installed

.PHONY: report test lint types unit wheel bench zoo install clean

install: $(STAMP)

# Editable, so that a second make installs nothing; again only when what it depends on has changed.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "mesascope needs Python 3.11 or newer, got $$($(PYTHON) --version 2>&1); set PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

report: $(STAMP)
	$(BIN)/mesascope report zoo:decoder-d5 --out out/report

test: lint types unit wheel

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy src tests benchmarks

unit: $(STAMP)
	$(BIN)/pytest

# The wheel is built from the sdist and used from an environment that knows nothing of this folder.
WHEEL_VENV := .venv-wheel
wheel: $(STAMP)
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .
	test -x $(WHEEL_VENV)/bin/python || $(PYTHON) -m venv $(WHEEL_VENV)
	$(WHEEL_VENV)/bin/python -m pip --disable-pip-version-check install --quiet -c constraints.txt dist/*.whl
	$(WHEEL_VENV)/bin/python -m pip --disable-pip-version-check install --quiet --force-reinstall --no-deps dist/*.whl
	cd $(WHEEL_VENV) && bin/python ../tests/smoke_wheel.py

bench: $(STAMP)
	$(BIN)/python benchmarks/run.py

# Retrain the bundled specimens; one thread, so that the bits do not depend on the number of cores.
zoo: $(STAMP)
	for name in lsa-1 lsa-2 decoder-d5; do \
	  rm -rf models/zoo/$$name && \
	  OMP_NUM_THREADS=1 $(BIN)/mesascope train $$name --out models/zoo/$$name && \
	  rm -r models/zoo/$$name/checkpoints || exit 1; \
	done

clean:
	rm -rf $(VENV) $(WHEEL_VENV) dist out .pytest_cache .mypy_cache .ruff_cache
