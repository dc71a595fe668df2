# Everything runs in .venv, which `make setup` makes from constraints.txt. PYTHON picks the interpreter; TORCH_INDEX names the package
# index of another PyTorch build (pytorch.org/get-started/locally tells which: CPU only, or a CUDA version).
PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := gateway,embedder,retriever,generator,generator-transformers,generator-ctranslate2,generator-openai,dev
PIP_ARGS := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

export BENTOML_DO_NOT_TRACK := true
export HF_HUB_OFFLINE ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup run test test-kill eval-gate eval-baseline check format docs lock clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

setup: $(VENV)/.complete  ## make .venv with everything; at once when nothing changed

$(VENV)/.complete: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)) and "Ekiben needs Python 3.11 or 3.12: make setup PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -e '.[$(EXTRAS)]'
	touch $@

run: setup  ## start the services with the sample documents, ask a question, stay up until Ctrl-C
	$(BIN)/ekiben demo

test: setup  ## pass the tests, two files at a time (some ten minutes on two cores)
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-kill: setup  ## kill -9, full and broken disks, power loss and damage at every write point (long)
	$(BIN)/python -m pytest tests/faults -m slow

# A vector that is late on a busy machine would change a ranking, so that it is waited for.
eval-gate eval-baseline: export EKIBEN_RETRIEVER__EMBED_TIMEOUT_S = 60

eval-gate: setup  ## measure the sample and compare with data/eval/baseline.json; fails where a measure fell
	$(BIN)/ekiben eval data/eval/sample --baseline data/eval/baseline.json

eval-baseline: setup  ## measure the sample and write data/eval/baseline.json
	$(BIN)/ekiben eval data/eval/sample --json data/eval/baseline.json

check: setup  ## linters, types, import contracts, generated docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m docs.generate --check

format: setup  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup  ## write the generated parts of the docs again
	$(BIN)/python -m docs.generate

lock: setup  ## write constraints.txt and deploy/requirements.txt from what is installed
	$(BIN)/python -m pip freeze --all --exclude-editable --exclude pip | sed -E 's/\+(cpu|cu[0-9]+)$$//' > constraints.txt
	$(BIN)/python -m deploy.requirements

clean:  ## remove .venv and what was built
	rm -rf $(VENV) build dist *.egg-info
