# make run    set up what is missing, then the lab:   make run LAB=dnat-basic ARGS=--auto
# make vm     set up virtual machines too: the packages, libvirt-python and paramiko; then `natlab image build`
# make test   set up what is missing, then everything that there is to test
.DELETE_ON_ERROR:
SHELL := /bin/sh
LAB ?= dnat-basic
ARGS ?=
PYTHON ?= python3
BIN := .venv/bin

# What the labs run (natlab doctor names them one by one), and what a virtual environment needs.
PACKAGES := bash bsdutils busybox conntrack coreutils curl iproute2 iptables nftables procps python3 python3-venv uidmap util-linux
# What virtual machines need: to run them, to build their image, and to compile libvirt-python.
VM_PACKAGES := debian-archive-keyring e2fsprogs fdisk libvirt-clients libvirt-daemon libvirt-daemon-driver-qemu mmdebstrap mtools \
    qemu-system-x86 qemu-utils xz-utils gcc libc6-dev libvirt-dev pkg-config python3-dev
# What only the tests need: another user to be, programs to type in. And the bench: mininet, to be measured against.
TEST_PACKAGES := chromium dnsmasq-base less libvirt-daemon-system login openssh-client openssh-server passwd sudo tcpdump \
    vagrant vagrant-libvirt vim-tiny
BENCH_PACKAGES := bridge-utils mininet net-tools

.PHONY: help setup vm run test lint bench bench-vm clean
help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

setup: $(BIN)/natlab

$(BIN)/natlab: pyproject.toml .ci/install-packages
	.ci/install-packages $(PACKAGES)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	    "natlab needs Python 3.11 or newer; another one is named so: make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

run: setup
	$(BIN)/natlab run $(LAB) $(ARGS)

vm: .venv/vm

.venv/vm: $(BIN)/natlab
	.ci/install-packages $(VM_PACKAGES)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[libvirt]'
	@touch $@

.venv/dev: .venv/vm
	.ci/install-packages $(TEST_PACKAGES)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

test: .venv/dev lint
	$(BIN)/pytest --numprocesses=2 --no-loadscope-reorder $(ARGS)

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/dev
	.ci/install-packages $(BENCH_PACKAGES)
	$(BIN)/python bench/compare.py $(ARGS)
	$(BIN)/python bench/latency.py

bench-vm: .venv/dev
	$(BIN)/natlab image build
	$(BIN)/python bench/compare_vm.py $(ARGS)

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache build dist
