# Two commands: `make report` shows what the tool does, `make test` checks that it does it.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
STAMP  := $(VENV)/.installed

.PHONY: report test lint types unit docs chromium wheel bench zoo install clean

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

test: lint types unit docs wheel

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy src tests benchmarks

# A worker for each core and one thread for each worker: two workers of two threads each take twice as long.
unit: $(STAMP) chromium
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal

# Tests open the reports in a browser. Where none is found and root can install one, it is; elsewhere those tests skip, or
# fail with MESASCOPE_BROWSER=required, as in CI.
chromium:
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit; done; \
	  { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
	  echo "no Chromium was found and none could be installed: tests in a browser are skipped" >&2

# Every notebook runs, and a warning or a cell that fails is an error; two pages at a time, one thread each. Then every
# page is opened in Chromium. Screenshots of pages and reports stay in out/browser.
docs: $(STAMP) chromium
	rm -rf out/docs
	OMP_NUM_THREADS=1 $(BIN)/sphinx-build -W --keep-going -q -j 2 -d out/doctrees docs out/docs
	$(BIN)/pytest -q -m docs tests/browser/test_docs.py

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

# Retrain the bundled specimens (`make zoo`, or one: `make zoo/lsa-2-seed1`); one thread, so that the bits do not depend
# on the number of cores. A specimen is trained from the preset of its name unless PRESET_name says another.
LSA := lsa-1 lsa-2 lsa-3 lsa-4 lsa-2-tied lsa-3-tied lsa-4-tied preconditioned separate-tokens
ZOO := $(LSA) $(addsuffix -seed1,$(LSA)) sine sine-gd softmax-heads induction lstm decoder-d5 decoder-isotropic \
  decoder-ill-conditioned
KEEP_CHECKPOINTS := decoder-isotropic separate-tokens
PRESET_preconditioned := ahn/anisotropic
PRESET_separate-tokens := vonoswald/separate-tokens
PRESET_sine := vonoswald/sine
PRESET_sine-gd := vonoswald/sine-gd
PRESET_softmax-heads := vonoswald/softmax
PRESET_lstm := fu2024/lstm
PRESET_decoder-isotropic := fu2024/isotropic
PRESET_decoder-ill-conditioned := fu2024/ill-conditioned

zoo: $(addprefix zoo/,$(ZOO))
zoo/%: $(STAMP)
	rm -rf models/$@
	OMP_NUM_THREADS=1 $(BIN)/mesascope train $(or $(PRESET_$(*:-seed1=)),$(*:-seed1=)) --out models/$@ \
	  --seed $(if $(filter %-seed1,$*),1,0)
	rm models/$@/trainer.pt
	$(if $(filter $(KEEP_CHECKPOINTS),$*),,rm -r models/$@/checkpoints)

clean:
	rm -rf $(VENV) $(WHEEL_VENV) dist out .pytest_cache .mypy_cache .ruff_cache
