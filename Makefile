PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Empty files that record which extras the environment holds; pyproject.toml being newer makes pip look again.
DEMO := $(VENV)/.installed-demo
DEV := $(VENV)/.installed-dev

# How long `make fuzz` attacks the codec
FUZZ_MINUTES ?= 5

.PHONY: demo test check bench fuzz clean

demo: $(DEMO)
	$(BIN)/pixelpyramids demo

test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not long"

check: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(DEV)
	$(BIN)/python -m benchmarks

# atheris supports some Pythons only: what can be run without it is.
fuzz: $(DEV)
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[fuzz]"
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz --minutes $(FUZZ_MINUTES)

# pip, not python: where Debian lacks python3-venv, the attempt leaves a python without pip behind.
$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

$(DEMO): pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[train,plots]"
	touch $@

$(DEV): pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[data,train,plots,dev]"
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
