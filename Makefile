# PYTHON chooses the interpreter of .venv: make build PYTHON=python3.13
PYTHON ?= $(shell scripts/find-python.sh 3 3.13 3.12 3.11 | head -n 1)
VENV := .venv
PY := $(VENV)/bin/python

PY_DIRS := $(wildcard python tests benches)
FUZZ := --manifest-path rust/fuzz/Cargo.toml
RUST_CRATES := $(filter-out rust/fuzz,$(wildcard rust/*))
RUST_SOURCES := Cargo.toml Cargo.lock $(shell find $(RUST_CRATES) -name Cargo.toml -o -path '*/src/*' -name '*.rs')

ifneq ($(shell command -v uv),)
create_venv = uv venv --quiet --clear --python $(PYTHON) $(VENV)
install = uv pip install --quiet --python $(PY)
maturin_develop = $(VENV)/bin/maturin develop --uv
else
create_venv = $(PYTHON) -m venv --clear $(VENV) && $(PY) -m pip install --upgrade pip
install = $(PY) -m pip install
maturin_develop = $(VENV)/bin/maturin develop
endif

develop = $(maturin_develop) --release

export VIRTUAL_ENV := $(abspath $(VENV))
# pyo3 is built anew whenever this changes, so it is the same for every command.
export PYO3_PYTHON := $(abspath $(PY))
export PIP_QUIET := 1
# What merges the profiles is a component of rustup's.
trainable = rustup component add llvm-tools
# maturin stops where both this and VIRTUAL_ENV are set.
unexport CONDA_PREFIX

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo build wheel test test-core test-asan test-asan-core test-asan-python test-python test-servers test-full fuzz lint format bench bench-quick clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

demo: build ## build what is needed and show it at work
	$(VENV)/bin/swisper-ctx demo

build: $(VENV)/.built ## build the extension into .venv

wheel: $(VENV)/.tools ## the wheel that is published, in dist/: the compiler has seen benches/train.py
	$(trainable)
	PATH="$(abspath $(VENV)/bin):$$PATH" $(VENV)/bin/maturin build --release --pgo --out dist

test: test-core test-python ## the tests, under six minutes

test-core:
	cargo test --quiet

test-asan: test-asan-core test-asan-python ## the core and the binding under address sanitizer

# The flag has yet to become stable. With a target of its own, build scripts are built without it.
test-asan-core:
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address cargo test --quiet --target-dir target/asan \
		--target $$(rustc -vV | sed -n 's/^host: //p')

test-asan-python: $(VENV)/.test
	scripts/test-asan.sh $(PY)

# A process for each core: each starts servers of its own.
test-python: $(VENV)/.test
	$(PY) -m pytest --quiet --numprocesses=auto --maxprocesses=4 --dist=worksteal

test-servers: $(VENV)/.test ## the tests that need PostgreSQL and Redis, on other versions of them
	scripts/test-servers.sh $(PY)

test-full: ## many more rounds, on every Python found, debug builds too
	scripts/install-servers.sh pgbouncer
	SWISPER_FULL=1 $(MAKE) test-core
	$(MAKE) test-asan
	set -e; for python in $$(scripts/find-python.sh 3.11 3.12 3.13 3.11-dbg 3.12-dbg 3.13-dbg); do \
		echo "== $$python"; \
		SWISPER_FULL=1 $(MAKE) test-python PYTHON=$$python \
			VENV=.venvs/$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2] + sys.abiflags)'); \
	done
	SWISPER_FULL=1 $(MAKE) test-servers

fuzz: SECONDS ?= 60
fuzz: $(VENV)/pyvenv.cfg ## hostile bytes for the core, for so many SECONDS
	scripts/fuzz.sh $(SECONDS) $(PY)

lint: $(VENV)/.dev ## formatting, types, lints and layers
	cargo fmt --check
	cargo clippy --quiet --locked --workspace --all-targets -- -D warnings
	cargo fmt --check $(FUZZ)
	cargo clippy --quiet --locked $(FUZZ) --target-dir target --no-default-features -- -D warnings
	$(VENV)/bin/ruff check --quiet $(PY_DIRS)
	$(VENV)/bin/ruff format --quiet --check $(PY_DIRS)
	$(PY) -m mypy $(PY_DIRS)
	$(PY) -m mypy.stubtest swisper_ctx._core
	$(VENV)/bin/pyright --pythonpath $(PY) tests/typing/public_api.py
	$(VENV)/bin/lint-imports --no-logo

format: $(VENV)/.dev ## rewrite the sources as the formatters want them
	cargo fmt
	cargo fmt $(FUZZ)
	$(VENV)/bin/ruff check --quiet --fix $(PY_DIRS)
	$(VENV)/bin/ruff format --quiet $(PY_DIRS)

bench: $(VENV)/.trained ## all benches, with their peers, of the extension that a published wheel has
	$(PY) -m benches.ratio
	$(PY) -m pytest benches --benchmark-json=target/bench.json

bench-quick: $(VENV)/.dev ## every bench, briefly: they run and agree, the figures mean little
	$(PY) -m benches.ratio --quick
	$(PY) -m pytest --quiet benches --benchmark-min-rounds=1 --benchmark-max-time=0.02 --benchmark-warmup=off

clean: ## remove everything built
	rm -rf .venv .venvs target dist .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find python -name '*.so' -delete

# Stamps: .tools what builds, .built the extension and the cli, .test what tests need, .dev everything.

$(VENV)/pyvenv.cfg:
	scripts/preflight.sh "$(PYTHON)"
	$(create_venv)

$(VENV)/.tools: pyproject.toml | $(VENV)/pyvenv.cfg
	$(install) --group build
	touch $@

$(VENV)/.built: $(VENV)/.tools $(RUST_SOURCES)
	$(develop) --extras cli
	touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/.built
	$(develop) --extras all --group test
	touch $@

# Behind the others, which put the extension there that is built faster. Broken off, it leaves one that counts its calls.
$(VENV)/.trained: benches/train.py $(VENV)/.built $(VENV)/.test $(VENV)/.dev
	$(trainable)
	rm -f $(VENV)/.built
	PATH="$(abspath $(VENV)/bin):$$PATH" $(maturin_develop) --pgo
	touch $(VENV)/.built $(VENV)/.test $(VENV)/.dev $@

$(VENV)/.dev: pyproject.toml | $(VENV)/.built
	$(develop) --extras all --group develop
	touch $@
