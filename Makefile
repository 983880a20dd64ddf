# Everything happens in .venv; nothing is installed elsewhere.
#
#   make demo    the main job on drawn videos, without a network or data
#   make test    all tests
#   make lint    style and types
#   make bench   the README's figures into benchmarks/*.json; needs real videos in KINEMA_DATA

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt

.PHONY: demo test lint bench clean

demo: .venv/torch
	$(BIN)/kinema demo --out demo

test: .venv/dev
	$(BIN)/python -m pytest

lint: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: .venv/dev
	$(BIN)/python benchmarks/accuracy.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/demo.py

clean:
	rm -rf .venv demo build dist

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/torch: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[torch]'
	@touch $@

.venv/dev: .venv/torch
	$(PIP) --editable '.[dev]'
	@touch $@
