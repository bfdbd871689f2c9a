PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# These two files record what is installed. If pyproject.toml, the lock file or the native core is newer, pip runs again.
DEMO := $(VENV)/.installed-demo
DEV := $(VENV)/.installed-dev

# Exact versions of all packages except torch, because machines need different builds of it. LOCK= installs the newest.
LOCK := requirements-lock.txt
# The oldest Python that pyproject.toml supports; newer ones can use the same versions.
LOCK_PYTHON ?= python3.11
ALL_EXTRAS := data,train,plots,docs,dev

# Without an NVIDIA GPU, torch comes from PyTorch's index of CPU builds. TORCH_INDEX= uses pip's own index.
TORCH_INDEX ?= $(shell nvidia-smi -L >/dev/null 2>&1 || echo https://download.pytorch.org/whl/cpu)

# Minutes for which `make fuzz` attacks the codec
FUZZ_MINUTES ?= 5
CLANG ?= clang

# Flags with which the native core is compiled for its attacks, and the tests that `make sanitize` runs
SANITIZERS := -g1 -O1 -fsanitize=address,undefined -fno-sanitize-recover=all
SANITIZED := $(addprefix tests/test_,native.py coder.py mixing.py learning.py codec.py compact.py hostile.py)

# The systems that `make wheels` builds for; native/build.py has their names.
TARGETS := linux-x86_64 linux-aarch64 macos-x86_64 macos-arm64 windows-x86_64

.PHONY: demo test test-latest check docs lock bench fuzz sanitize wheels clean

demo: $(DEMO)
	$(BIN)/pixelpyramids demo

test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not long"

# The same with the newest version of every package
test-latest:
	rm -rf .venv-latest
	$(MAKE) test VENV=.venv-latest LOCK=

check: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The site, in build/docs: offline, and every warning (such as a link that leads nowhere) is an error
docs: $(DEV)
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going docs build/docs

bench: $(DEV)
	$(BIN)/python -m benchmarks

# atheris supports only some Python versions, and not every clang has libFuzzer; without them, the rest of the attacks run.
fuzz: $(DEV)
	-$(PIP) install --quiet -e ".[fuzz]"
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz.py --minutes $(FUZZ_MINUTES)
	@folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	if ! echo 'int LLVMFuzzerTestOneInput() { return 0; }' | \
			$(CLANG) -fsanitize=fuzzer -x c - -o "$$folder/trial" 2>/dev/null; then \
		echo "$(CLANG) has no libFuzzer, so nothing attacks the native core by itself; CLANG= names another clang"; exit; \
	fi; \
	CC=$(CLANG) $(BIN)/python native/build.py "$$folder" $(SANITIZERS) -fsanitize=fuzzer-no-link && \
	$(CLANG) $(SANITIZERS) -fsanitize=fuzzer native/fuzz.c "$$folder/ppyr_core.so" -o "$$folder/attack" && \
	seconds=$$($(BIN)/python -c "print(round(60 * $(FUZZ_MINUTES)))") && \
	LD_LIBRARY_PATH="$$folder" "$$folder/attack" -max_total_time="$$seconds" -max_len=4096 -len_control=0

# The tests of the codec, with a native core that stops at the first wrong access or undefined operation
sanitize: $(DEV)
	folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	$(BIN)/python native/build.py "$$folder" $(SANITIZERS) && \
	PIXELPYRAMIDS_CORE="$$folder/ppyr_core.so" OMP_NUM_THREADS=1 ASAN_OPTIONS=detect_leaks=0 \
	LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libstdc++.so.6)" \
	$(BIN)/python -m pytest -m "not long" $(SANITIZED)

# Wheels for all systems, in dist/. docs/evidence/performance.md says which are tested.
wheels: | $(BIN)/pip
	for target in $(TARGETS); do CORE_TARGET=$$target $(PIP) wheel --quiet --no-deps --wheel-dir dist . || exit 1; done

# The target is pip, not python: without Debian's python3-venv, a failed attempt leaves a python without pip.
$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

$(DEMO): EXTRAS := train,plots
$(DEMO): SIZE := 0.2 GB to download, 0.8 GB on disk

$(DEV): EXTRAS := $(ALL_EXTRAS)
$(DEV): SIZE := 0.5 GB to download, 1.8 GB on disk

$(DEMO) $(DEV): export REACH := import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=5)
# Check first that the index can be reached: pip would retry for minutes.
$(DEMO) $(DEV): pyproject.toml $(LOCK) native/build.py $(wildcard native/*.[ch]) | $(BIN)/pip
	@index="$(TORCH_INDEX)"; \
	if [ -n "$$index" ] && ! $(BIN)/python -c "$$REACH" "$$index/torch/" 2>/dev/null; then \
		echo "$$index cannot be reached: installing PyTorch from pip's own index"; index=; \
	fi; \
	echo "Installing into $(VENV):"; \
	if [ -n "$$index" ]; then echo "  PyTorch from $$index (for CPUs: 0.2 GB to download, 0.7 GB on disk)"; \
	else echo "  PyTorch from pip's own index (on Linux usually with CUDA: 3 GB to download, 5 GB on disk)"; fi; \
	echo "  the other packages ($(SIZE))"; \
	$(PIP) install $${index:+--extra-index-url "$$index"} $(LOCK:%=--constraint %) -e ".[$(EXTRAS)]"
	@touch $@

lock:
	$(LOCK_PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet packaging
	.venv-lock/bin/python -m pip install --quiet --dry-run --ignore-installed --report - ".[$(ALL_EXTRAS)]" \
		| .venv-lock/bin/python .ci/lock.py >.venv-lock/$(LOCK)
	mv .venv-lock/$(LOCK) $(LOCK)

clean:
	rm -rf .venv .venv-latest .venv-lock .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	rm -f pixelpyramids/codec/ppyr_core.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
