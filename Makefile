# Matchbox. `make` alone lists the targets; every one works on a fresh machine with Python 3.11 to 3.13.
PYTHON ?= python3
BIN = .venv/bin

.PHONY: help demo test lint bench clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/runtime: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11, 3.12 or 3.13 is needed" if not (3, 11) <= sys.version_info < (3, 14) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/development: .venv/runtime tests/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@

demo: .venv/runtime  ## train on the built-in scenes, grade, and answer a query (about two minutes)
	$(BIN)/python train.py --exp demo --overwrite --loss modified
	$(BIN)/python test.py --exp demo
	$(BIN)/python retrieve.py --exp demo "a small blue triangle above an orange star"
	@echo
	@echo "learning curve        exp/demo/history.png"
	@echo "score                 exp/demo/score.json and score.png"
	@echo "answer to the query   exp/demo/answer.png"

test: .venv/development  ## the whole test suite
	$(BIN)/python -m pytest

lint: .venv/development  ## ruff and pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: .venv/runtime  ## speed and memory, each beside the floor of this machine
	$(BIN)/python -m lab.bench

clean:  ## remove caches (not .venv, not exp/)
	rm -rf .cache .pytest_cache .ruff_cache __pycache__ tests/__pycache__
