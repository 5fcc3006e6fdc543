# make run    everything on a fresh machine: venv, install, five labeling rounds on the committed data, report
# make test   ruff, mypy, import-linter, pytest
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXPERIMENT ?= main
ROUNDS ?= 5
INSTALLED := .make/installed
export DO_NOT_TRACK := 1
export OMP_NUM_THREADS ?= 1
export KEDRO_LOGGING_CONFIG ?= conf/logging.yml

.PHONY: help run test test-gpu test-statistical test-slow viz viz-site data data-emoji data-tuxpaint data-han e2e-label-studio e2e-mlflow e2e-airflow airflow-dag handoff-screenshots report-screenshots run-vqa data-scenes bench bench-vqa bench-full bench-overhead bench-selection ablations policy durability science docs clean distclean install lint types imports

help:  ## this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/'

run: install  ## five labeling rounds on the committed data, and the report
	@$(BIN)/kedro rounds run --rounds $(ROUNDS) $(if $(filter-out main,$(EXPERIMENT)),--experiment $(EXPERIMENT))

run-vqa: install data-scenes  ## Active-VLM on generated questions: a demonstration (minutes; the base model is made once)
	@echo "A demonstration: a model of 0.4 million weights over generated scenes. With weights of your own: docs/vqa.md"
	@$(BIN)/kedro rounds run --env vqa --experiment $(if $(filter-out main,$(EXPERIMENT)),$(EXPERIMENT),vqa)

data-scenes: install  ## the generated questions over small scenes, into data/01_raw/scenes
	@$(BIN)/python -m rlmba_pipelines.sources.scenes data/01_raw/scenes

test: install lint types imports  ## all checks
	@$(BIN)/python -m pytest -n 2 --dist worksteal

lint: install
	@$(BIN)/ruff check .

types: install
	@$(BIN)/mypy

imports: install
	@$(BIN)/lint-imports --no-cache 2>&1 | tail -n 12

test-gpu: install  ## the loop on CUDA, checked against the CPU
	@$(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || { echo "No CUDA device can be used here; run this on a machine that has one."; exit 2; }
	@$(BIN)/python -m pytest -m gpu

test-statistical: install  ## laws of chance over many seeds
	@$(BIN)/python -m pytest -m statistical

test-slow: install  ## what takes long: memory by the size of the pool
	@$(BIN)/python -m pytest -m slow

viz: install  ## the lineage of all rounds in the browser (kedro-viz, http://127.0.0.1:4141)
	@$(BIN)/kedro viz run --host 127.0.0.1

viz-site: install  ## the same as a static site in build/
	@$(BIN)/kedro viz build --include-previews

bench: install  ## strategies against each other on real data, twenty seeds; docs/benchmarks.md (resumes)
	@$(BIN)/python scripts/bench.py

bench-vqa: install  ## Active-VLM against random and without its parts; docs/benchmarks_vqa.md (hours, resumes)
	@$(BIN)/python scripts/bench_vqa.py

bench-full: install  ## every strategy, set and control of conf/benchmark/protocol.yml (many hours, resumes)
	@$(BIN)/python scripts/bench.py --plan full

bench-overhead: install  ## what Kedro and durability cost; docs/benchmarks_overhead.md
	@$(BIN)/python scripts/bench_overhead.py

bench-selection: install  ## every strategy beside other libraries, time and memory; docs/benchmarks_selection.md (hours, resumes)
	@test -x .venv-peers/bin/python || { $(PYTHON) -m venv .venv-peers && echo '*' > .venv-peers/.gitignore; }
	@.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --requirement scripts/peers.txt
	@PYTHONPATH=src .venv-peers/bin/python scripts/bench_selection.py

durability: install  ## kill a run at every write, fill the disk, go on, compare (an hour, resumes; LIMIT=60 places: minutes)
	@$(BIN)/python scripts/durability.py --limit $(or $(LIMIT),0) --full-disks $(or $(LIMIT),0) --memory build/durability.jsonl

e2e-label-studio: install  ## three batches labeled on a real Label Studio by simulated people, with all that goes wrong (minutes)
	@$(BIN)/python scripts/e2e_label_studio.py

e2e-mlflow: install .venv-mlflow/bin/mlflow  ## rounds told to a real MLflow server on loopback (in .venv-mlflow, since it pins older packages)
	@$(BIN)/python -m pytest -m mlflow tests/handoff

airflow-dag: install  ## the rounds as a DAG for Airflow, into build/airflow (RUN="--manifest my.csv …": options of kedro rounds run)
	@$(BIN)/kedro rounds airflow -- $(RUN) $(if $(filter-out main,$(EXPERIMENT)),--experiment $(EXPERIMENT))

e2e-airflow: install .venv-airflow/bin/airflow  ## the DAG parsed and run by a real Airflow (in .venv-airflow, since it pins older packages)
	@$(BIN)/python -m pytest -m airflow tests/handoff

handoff-screenshots: install .venv-mlflow/bin/mlflow  ## the pictures of docs/handoff.md, of real servers on loopback (minutes)
	@$(BIN)/python scripts/handoff_screenshots.py

report-screenshots: install  ## the pictures of README.md, of the report that is there
	@$(BIN)/python scripts/report_screenshots.py

ablations: install  ## what each part of the default is worth, over ten seeds; docs/ablations.md (an hour or two, resumes)
	@$(BIN)/python scripts/ablations.py

policy: install  ## pre-train the policy that comes with the package on look-ahead episodes of the benchmark sets (resumes)
	@$(BIN)/python scripts/pretrain.py

science: install  ## pictures of the ideas into docs/figures
	@$(BIN)/python scripts/science.py

docs: install  ## docs/strategies.md from the registry
	@$(BIN)/python scripts/strategy_docs.py

data: install  ## rebuild the committed emoji data from the registries, byte for byte
	@$(BIN)/python -m pip install --quiet --constraint scripts/requirements-data.txt --requirement scripts/requirements-data.txt
	@$(BIN)/python scripts/build_emoji.py

data-emoji: install  ## fetch and build the full emoji benchmark into data/01_raw/emoji-full (resumes)
	@$(BIN)/python -m pip install --quiet --constraint scripts/requirements-data.txt --requirement scripts/requirements-data.txt
	@$(BIN)/python scripts/build_emoji_full.py

data-tuxpaint: install  ## fetch the Tux Paint stamps, with recorded speech, into data/01_raw/tuxpaint
	@$(BIN)/python -m pip install --quiet --constraint scripts/requirements-data.txt --requirement scripts/requirements-data.txt
	@$(BIN)/python scripts/build_tuxpaint.py

data-han: install  ## build the Han characters (10,057 glyphs with definitions, 62 radicals) from Debian packages
	@$(BIN)/python -m pip install --quiet --constraint scripts/requirements-data.txt --requirement scripts/requirements-data.txt
	@$(BIN)/python scripts/build_han.py
	@echo "now: kedro rounds run --manifest data/01_raw/han/manifest.csv"

clean:  ## delete everything that runs have made; the committed data, the environment and conf/ stay
	@find data -mindepth 2 -maxdepth 2 ! -name .gitkeep ! -path 'data/01_raw/*' -exec rm -rf {} +
	@rm -rf build .viz .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache info.log
	@echo "cleaned; 'make distclean' deletes the environment too"

distclean: clean  ## delete the environment as well
	@rm -rf $(VENV) .venv-peers .venv-label-studio .venv-mlflow .venv-airflow .make

.venv-mlflow/bin/mlflow:
	@$(PYTHON) -m venv .venv-mlflow && echo '*' > .venv-mlflow/.gitignore
	@.venv-mlflow/bin/python -m pip install --quiet --disable-pip-version-check 'mlflow==3.17.2'

.venv-airflow/bin/airflow:
	@$(PYTHON) -m venv .venv-airflow && echo '*' > .venv-airflow/.gitignore
	@.venv-airflow/bin/python -m pip install --quiet --disable-pip-version-check 'apache-airflow==3.3.2'

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "Python is missing: install Python 3.11 or newer, or call 'make PYTHON=/path/to/python3'."; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$$($(PYTHON) --version) is too old: install Python 3.11 or newer, or call 'make PYTHON=/path/to/python3.11'."; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "The Python module 'venv' is missing: install it (Debian, Ubuntu: apt-get install python3-venv)."; exit 2; }
	@mkdir -p .make
	@echo "installing into $(VENV) (once, a minute or two) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@for try in 1 2 3; do \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[offline,dev]' > .make/install.log 2>&1 && break; \
	  tail -n 20 .make/install.log; \
	  test $$try -lt 3 || { echo "Installing failed; the whole log is in .make/install.log."; exit 2; }; \
	  echo "installing was cut off; once more …"; \
	done
	@touch $@
