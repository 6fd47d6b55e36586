# Longwatch. `make demo`, `make test` and `make test-quick` do all set-up themselves, in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: install demo test test-quick lint types bench clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	@echo "installing into $(VENV) (a minute or two) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install
	@$(BIN)/longwatch demo

test: install
	@sh tests/install_debian.sh
	@$(PYTEST)

test-quick: install  # under three minutes on two cores: all but what is marked `slow`
	@$(PYTEST) -m 'not slow'

lint: install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: install
	@mkdir -p $(VENV)/types && ln -sfn "$(CURDIR)" $(VENV)/types/longwatch  # the folder is the package
	@MYPYPATH=$(VENV)/types $(BIN)/mypy -p longwatch.clients -p longwatch.daemon -p longwatch.demo -p longwatch.memory \
		-p longwatch.retrieval -p longwatch.yard

bench: install
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[bench]'
	@$(BIN)/python benchmarks/ingest.py
	@$(BIN)/python benchmarks/answer.py
	@$(BIN)/python benchmarks/embedded.py
	@$(BIN)/python benchmarks/recall.py --hours 1
	@$(BIN)/python benchmarks/recall.py --hours 6
	@$(BIN)/python benchmarks/recall.py --hours 24
	@$(BIN)/python benchmarks/recall.py --text-log 1000
	@$(BIN)/python benchmarks/index.py --blocks 1000000
	@$(BIN)/python benchmarks/confidence.py
	@$(BIN)/python benchmarks/start.py --days 30
	@$(BIN)/python benchmarks/soak.py --hours 24
	@$(BIN)/python benchmarks/crash.py --kills 200
	@$(BIN)/python benchmarks/powerloss.py
	@$(BIN)/python benchmarks/load.py
	@$(BIN)/python benchmarks/world.py

clean:
	rm -rf $(VENV) build *.egg-info longwatch-data longwatch-demo longwatch-evidence
