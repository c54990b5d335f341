# make run    set up what is missing, then the lab:   make run LAB=dnat-basic ARGS=--auto
# make test   set up what is missing, then everything that there is to test
.DELETE_ON_ERROR:
SHELL := /bin/sh
LAB ?= dnat-basic
ARGS ?=
PYTHON ?= python3
BIN := .venv/bin

# What the labs run (natlab doctor names them one by one), and what a virtual environment needs.
PACKAGES := bash bsdutils busybox conntrack coreutils curl iproute2 iptables nftables procps python3 python3-venv uidmap util-linux
# What only the tests and the bench need: terminals to type in, another user to be, mininet to be measured against.
TEST_PACKAGES := bridge-utils login mininet net-tools passwd tcpdump tmux

.PHONY: help setup run test lint bench clean
help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

setup: $(BIN)/natlab

$(BIN)/natlab: pyproject.toml .ci/install-packages
	.ci/install-packages $(PACKAGES)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

run: setup
	$(BIN)/natlab run $(LAB) $(ARGS)

.venv/dev: $(BIN)/natlab
	.ci/install-packages $(TEST_PACKAGES)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

test: .venv/dev lint
	$(BIN)/pytest $(ARGS)

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/dev
	$(BIN)/python bench/compare.py $(ARGS)

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache build dist
