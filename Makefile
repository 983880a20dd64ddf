# Everything happens in .venv; nothing is installed elsewhere.
#
#   make demo       the main job on drawn videos, without a network or data
#   make test       all tests
#   make test-core  extraction, prediction and the estimators, in a .venv that has no torch
#   make test-lowest  the same with the lowest versions that pyproject.toml allows
#   make lint       style and types
#   make docs       the documents as a site in build/docs; `make links` looks for dead links alone
#   make wheel      one file to install elsewhere, in dist/; installed without a compiler, and run
#   make release    whether all that tells a version agrees; uploads nothing
#   make bench      the README's figures into benchmarks/*.json; needs real videos in KINEMA_DATA

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALL := $(PIP) install --constraint constraints.txt
CORE := $(addprefix tests/,native engine/test_engine.py engine/test_opencv.py video/test_loop.py \
	features/test_feature_table.py features/test_features.py features/test_clip_features.py features/test_estimators.py \
	methods/test_predict.py finding/test_answer.py finding/test_index.py finding/test_search.py cli evaluation/test_compare.py views/test_convolution_steps.py views/test_deconvolution.py views/test_excitation.py views/test_filters.py)
NATIVE := CMakeLists.txt $(shell find src/kinema/native -name "*.cpp" -o -name "*.h")

.PHONY: demo test test-core test-lowest lint docs links wheel release bench clean

demo: .venv/core
	$(BIN)/kinema demo --out demo

test: .venv/dev
	$(BIN)/python -m pytest

test-core: .venv/test
	$(BIN)/python -c "import importlib.util as u, sys; u.find_spec('torch') and sys.exit('torch is there: make clean first')"
	$(BIN)/python -m pytest $(CORE)

test-lowest: .venv-lowest/done
	.venv-lowest/bin/python -m pytest $(CORE)

.venv-lowest/done: pyproject.toml $(NATIVE)
	$(PYTHON) -m venv --clear .venv-lowest
	$(PYTHON) tests/lowest.py > .venv-lowest/constraints.txt
	.venv-lowest/bin/python -m pip --disable-pip-version-check --quiet install \
		--constraint .venv-lowest/constraints.txt --editable '.[test]'
	@touch $@

lint: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(filter %.cpp %.h,$(NATIVE)) benchmarks/*.cpp

docs: .venv/docs
	rm -rf build/docs
	MPLBACKEND=agg $(BIN)/sphinx-build --fail-on-warning --keep-going --quiet \
		-c docs -d build/docs-cache . build/docs
	$(BIN)/python tests/links.py build/docs

links:
	$(PYTHON) tests/links.py

wheel: .venv/dev
	tests/wheel.sh $(BIN)/python

release: .venv/bin/python
	$(BIN)/python tests/release.py

bench: .venv/dev
	$(PIP) install --requirement benchmarks/requirements.txt
	$(BIN)/python benchmarks/engines.py
	$(BIN)/python benchmarks/plot_engines.py
	$(BIN)/python benchmarks/layers.py
	$(BIN)/python benchmarks/extraction.py
	$(BIN)/python benchmarks/prepare.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/install.py
	$(BIN)/python benchmarks/demo.py
	$(BIN)/python benchmarks/report.py
	$(BIN)/python benchmarks/tables.py

clean:
	rm -rf .venv .venv-lowest demo build dist docs/gallery

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/core: .venv/bin/python pyproject.toml constraints.txt $(NATIVE)
	$(INSTALL) --editable .
	@touch $@

.venv/test: .venv/core
	$(INSTALL) --editable '.[test]'
	@touch $@

.venv/dev: .venv/core
	$(INSTALL) --editable '.[dev]'
	@touch $@

.venv/docs: .venv/core
	$(INSTALL) --editable '.[docs]'
	@touch $@
