# Everything runs from a fresh checkout: the first target that needs it makes .venv and installs into it.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
export OMP_NUM_THREADS ?= 2
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo test test-slow test-engines test-gpu check clean

demo: $(VENV)/installed
	$(RUN) -m ergo.cli.demo demo-out

test: $(VENV)/installed
	$(RUN) -m ruff check src tests
	$(RUN) -m ruff format --check src tests
	$(RUN) -m mypy
	$(RUN) -m pytest

test-slow: $(VENV)/installed
	$(RUN) -m pytest -m slow

test-engines: $(VENV)/installed
	sh tests/engines/setup.sh
	sh tests/engines/setup_verl.sh
	$(RUN) -m pytest -m engines

test-gpu: $(VENV)/installed
	$(RUN) -m pytest -m gpu

# Python >= 3.11 is looked for under the usual names; say PYTHON=... for another.
$(VENV)/installed: pyproject.toml constraints.txt
	@python=""; for name in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
	  if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$name; break; fi; done; \
	if [ -z "$$python" ]; then echo "ergo needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; fi; \
	$$python -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[local,lora,eval,vips,heif,jxl,train,data,serve,batch,dev]'
	touch $@

clean:
	rm -rf $(VENV) demo-out
