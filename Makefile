# Two commands on a fresh machine: `make rank` and `make test`. Both set up .venv first.
# `make check-browser` looks at a report in a real browser, Chromium, which has to be on PATH.
# `make check-crash` kills runs and takes their disk, memory, Hub and clock away; about an hour.
# `make check-docs` types what README, docs/ and examples/ say to type; it needs jq; half an hour or more.
# `make fuzz` feeds 10,000 wrong inputs of each kind; failures and a table as JSON are in bench/fuzz.
# `make soak` ranks a thousand times in one process; `make check-oldest` runs the tests with the oldest
# versions that pyproject.toml allows, which live in .venv-oldest.
# `make bench` compares with other libraries, which live in .venv-bench; its results are in bench/.
# `make bench-gpu` does so on a CUDA device, with the tests that need one.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCH := .venv-bench
OLDEST := .venv-oldest

# Further tasks of `make bench-ranking`: CIFAR-10 (a folder of parquet files, or hf:owner/name), and
# any that `selector rank --task` takes.
DATA ?=
TASKS ?=

# How often `make check-crash` kills, and where it writes what came out.
KILLS ?= 100
CRASHES ?= bench/crash.json

.PHONY: rank test check check-browser check-crash check-docs check-oldest fuzz soak docs bench bench-gpu bench-ranking bench-seeds install clean

rank: $(VENV)/.installed
	$(BIN)/selector rank

# Two processes with a thread each: more would wait for each other.
test: $(VENV)/.installed-dev check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The references in docs/, from the program itself.
docs: $(VENV)/.installed
	$(BIN)/python docs/generate.py

check-browser: $(VENV)/.installed-browser
	PYTHONPATH=tests $(BIN)/python tests/browser/check_report.py

check-crash: $(VENV)/.installed-dev
	mkdir -p bench
	PYTHONPATH=tests $(BIN)/python tests/crash/check_crash.py --kills $(KILLS) -o $(CRASHES)

check-docs: $(VENV)/.installed-dev
	mkdir -p bench
	PYTHONPATH=tests $(BIN)/python tests/pages/check_pages.py -o bench/docs.json

fuzz: $(VENV)/.installed-fuzz
	mkdir -p bench
	PYTHONPATH=tests $(BIN)/python -m fuzz -o bench/fuzz.json

check-oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/python -m pip check
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest -q -n 2

soak: $(VENV)/.installed-dev
	PYTHONPATH=tests OMP_NUM_THREADS=1 $(BIN)/python -m soak.run -o docs/soak.json

bench: $(BENCH)/.installed
	mkdir -p bench
	$(BENCH)/bin/python benchmarks/throughput.py --device cpu --images 6 -o bench/throughput.cpu.json
	$(BENCH)/bin/python benchmarks/attack_quality.py --device cpu --images 10 -o bench/attack_quality.cpu.json
	$(BENCH)/bin/python benchmarks/memory.py -o bench/memory.cpu.json
	$(BENCH)/bin/python benchmarks/racing.py --seeds 1 -o bench/racing.cpu.json

bench-gpu: $(VENV)/.installed-dev $(BENCH)/.installed
	mkdir -p bench
	$(BIN)/python -m pytest -q -m gpu
	$(BENCH)/bin/python benchmarks/architectures.py --device cuda -o bench/architectures.gpu.json
	$(BENCH)/bin/python benchmarks/throughput.py --device cuda --networks imagenet --images 128 -o bench/throughput.gpu.json
	$(BENCH)/bin/python benchmarks/passes.py --device cuda --networks imagenet --compiled 1 -o bench/passes.gpu.json
	$(BENCH)/bin/python benchmarks/precisions.py --device cuda -o bench/precisions.gpu.json
	$(BENCH)/bin/python benchmarks/attack_quality.py --device cuda --images 64 -o bench/attack_quality.gpu.json

# Ground truths that are known are not found again, but for two, to compare.
bench-ranking: $(BENCH)/.installed
	mkdir -p bench
	$(BENCH)/bin/python benchmarks/ranking_quality.py --zoo benchmarks/zoo \
		$(if $(DATA),--data $(DATA)) $(foreach task,$(TASKS),--task $(task)) \
		--known benchmarks/results/ranking_truth.jsonl --truth bench/ranking_truth.jsonl --check 2 \
		-o bench/ranking_quality.json

# Three draws of each task's images, against AutoAttack's first two parts. Clothes are told apart at less.
THREE_DRAWS := --zoo benchmarks/zoo --seeds 3 --attack apgd --known benchmarks/results/seeds_truth.jsonl \
	--truth bench/seeds_truth.jsonl
bench-seeds: $(BENCH)/.installed
	mkdir -p bench
	$(BENCH)/bin/python benchmarks/ranking_quality.py $(THREE_DRAWS) $(if $(DATA),--data $(DATA)) \
		--threats linf:2/255 l2:0.25 -o bench/ranking_seeds.json
	$(if $(TASKS),$(BENCH)/bin/python benchmarks/ranking_quality.py $(THREE_DRAWS) --no-digits \
		$(foreach task,$(TASKS),--task $(task)) --threats linf:1/255 l2:0.125 -o bench/ranking_seeds.clothes.json)

install: $(VENV)/.installed

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@ $(VENV)/.installed

$(VENV)/.installed-browser: pyproject.toml $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[browser]"
	touch $@

$(VENV)/.installed-fuzz: pyproject.toml $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev,fuzz]"
	touch $@

$(BENCH)/.installed: pyproject.toml benchmarks/requirements.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --editable . \
		-r benchmarks/requirements.txt
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps torchattacks
	touch $@

$(OLDEST)/.installed: pyproject.toml tests/oldest.py
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python tests/oldest.py > $(OLDEST)/oldest.txt
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]" \
		--constraint $(OLDEST)/oldest.txt
	touch $@

clean:
	rm -rf $(VENV) $(BENCH) $(OLDEST) bench
