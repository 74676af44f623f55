# Everything a user does is one of these targets; `make help` lists them.
DATASET    ?= tiny_brain,tiny_texture
BETAS      ?= 1,4
SEEDS      ?= 0,1
JOBS       ?= 2
OUT        ?= runs
MINUTES    ?= 60
comma      := ,
TRAINER    ?= $(if $(filter-out tiny_%,$(subst $(comma), ,$(DATASET))),default,short)
PY         := .venv/bin/python
PYTEST      = $(PY) -m pytest -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder
BENCH       = .venv/bin/anomaly-bench
CHECK_OUT  := .check
CHECKED     = experiment=check seed=0,1 jobs=2 engine.threads=1
BASELINES  := $(addprefix --baseline leaderboard/baselines/,tiny_brain.json tiny_texture.json)
GRAPH      := --baseline leaderboard/baselines/tiny_texture_graph.json

define check_runs
	@$(BENCH) bench dataset=tiny_texture model=graph predictors=fast trainer.max_epochs=8 $(CHECKED) out=$(CHECK_OUT)/graph
	@$(BENCH) bench dataset=tiny_brain,tiny_texture $(CHECKED) out=$(CHECK_OUT)
endef

# Empty variables are left out of the command.
OVERRIDES = dataset=$(DATASET) trainer=$(TRAINER) model.beta=$(BETAS) seed=$(SEEDS) "out='$(OUT)'" \
	$(if $(DATA_ROOT),"dataset.root='$(DATA_ROOT)'") $(if $(PREDICTORS),'predictors.only=[$(PREDICTORS)]') \
	$(if $(EPOCHS),trainer.max_epochs=$(EPOCHS)) $(if $(LOGGER),logger=$(LOGGER)) jobs=$(JOBS) $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help setup bench paper ensemble claims leaderboard quick test fuzz coverage lint types check baselines benchmarks doctor clean

help:  ## list every target
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14
	@echo
	@echo 'make bench takes  DATASET=$(DATASET)   (brats, open_ms, magnetic_tile, mvtec_ad, …)'
	@echo '                  DATA_ROOT=FOLDER     where the dataset lies; the embedded ones need none'
	@echo '                  BETAS=$(BETAS) SEEDS=$(SEEDS) PREDICTORS=rec_l1,grad_kl EPOCHS=50 JOBS=$(JOBS) OUT=$(OUT)'
	@echo '                  TRAINER=short        at most 45 epochs; default: until the validation ELBO is flat, for all but the embedded data'
	@echo '                  DATA=FOLDER          of make paper: where datasets lie, each under its name'
	@echo '                  LOGGER=wandb         and in ARGS= any other override, e.g. ARGS="model.latent=128"'

setup: .venv/.ready  ## make .venv and install everything into it (bench and test do this by themselves)

.venv/.ready: pyproject.toml constraints.txt scripts/setup.sh
	@scripts/setup.sh

bench: .venv/.ready  ## train, localize, leaderboard: DATASET x BETAS x SEEDS, resumable
	@$(BENCH) bench $(OVERRIDES)

paper: .venv/.ready  ## every dataset at hand x betas x seeds, resumable, then docs/results/paper.md: what holds of the paper
	@$(BENCH) paper $(if $(DATA),"data_dir='$(DATA)'") jobs=$(JOBS) $(ARGS)

ensemble: .venv/.ready  ## combine the seeds of each setting in OUT
	@$(BENCH) ensemble $(OUT)

claims: .venv/.ready  ## what the results in OUT say about the paper's statements
	@$(BENCH) claims $(OUT)

leaderboard: .venv/.ready  ## the tables of all results in OUT
	@$(BENCH) leaderboard $(OUT)

quick: lint types  ## before every commit: lint, types, and all tests but the slow ones, on the cores that there are
	@$(PYTEST) -m "not slow and not slurm" --durations=5 --durations-min=3

test: .venv/.ready  ## the tests, then the regression check of localization AUROC on the tiny datasets
	@$(PYTEST)
	@$(MAKE) --no-print-directory check

fuzz: .venv/.ready  ## changed files, configs and archives by chance, for MINUTES=60; prints its seed and keeps each input that fails
	@PYTHONPATH=. $(PY) tests/helpers/hostile/fuzzing.py --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

coverage: .venv/.ready  ## the tests, and how much of the code they run; fails below the floor in pyproject.toml
	@$(PYTEST) --cov

lint: .venv/.ready  ## ruff: lint and format; import-linter: arrows between rooms
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && .venv/bin/lint-imports

types: .venv/.ready  ## mypy
	@$(PY) -m mypy

check: .venv/.ready  ## compare localization AUROC on the tiny datasets with leaderboard/baselines; fails when worse
	$(check_runs)
	@$(BENCH) check $(CHECK_OUT)/graph $(GRAPH)
	@$(BENCH) check $(CHECK_OUT) $(BASELINES)

baselines: .venv/.ready  ## write new baselines from this code's results (look at the diff before you commit it)
	$(check_runs)
	@$(BENCH) check $(CHECK_OUT)/graph --update $(GRAPH)
	@$(BENCH) check $(CHECK_OUT) --update $(BASELINES)

benchmarks: .venv/.ready  ## every speed claim measured again: ratios in benchmarks/ratios.json and docs/benchmarks.md (half an hour)
	@$(PY) benchmarks $(ARGS)

doctor: .venv/.ready  ## versions, devices, disk, folders
	@$(BENCH) doctor

clean:  ## remove .venv, caches and the check's runs (not your results)
	rm -rf .venv $(CHECK_OUT) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage*
