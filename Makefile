# Every command sets up what it needs: a virtual environment in .venv with the extension built into it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUST := $(shell find rust -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock

.PHONY: build demo test check format bench clean

build: $(VENV)/built

$(VENV)/installed: requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

$(VENV)/built: $(VENV)/installed pyproject.toml $(RUST)
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/maturin develop --release --locked --quiet
	touch $@

# The main job: a small batch on the synthetic aberration map, and a picture of a frame.
demo: build
	$(BIN)/simtiff batch configs/demo_config.json --output-dir demo_output --no-resume
	$(BIN)/simtiff preview demo_output/job_0000*/simulation.ome.tiff --output demo_output/preview.png
	@echo; echo "Files:"; find demo_output -type f ! -name '.*' | sort

# Everything that must hold: format, lint and types, the core's tests, the package's tests.
test: check
	cargo test --locked --release --quiet
	$(BIN)/python -m pytest --quiet

check: build
	cargo fmt --check
	cargo clippy --locked --workspace --all-targets --quiet -- -D warnings
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest simtiff._core

format: build
	cargo fmt
	$(BIN)/ruff format --quiet .
	$(BIN)/ruff check --quiet --fix .

# One table: this code against plain NumPy, in one run. `cargo bench` has the core's own figures.
bench: build
	$(BIN)/python benches/compare.py

clean:
	rm -rf $(VENV) target demo_output
