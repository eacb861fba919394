# Thin aliases of `python -m asd <stage> key=value ...`; no logic lives here. `make help` says what there is.

PYTHON ?= python3
BIN := .venv/bin
ASD := $(BIN)/python -m asd

# Every variable of the command line is an option of the stage: make train machine=fan seeds=0,1,2 training.epochs=5.
# Each reaches the stage as it was typed, whatever its value holds: make train data="my recordings".
OWN := PYTHON set
NAMES = $(foreach .o,$(sort $(filter-out $(OWN),$(.VARIABLES))),$(if $(filter command,$(firstword $(origin $(.o)))),$(.o)))
SPECIAL := ' " ` \ ; & | < > ( ) * ? ! [ ] { } ~ $$ \#
QUOTED = $(if $(strip $(foreach .c,$(SPECIAL),$(findstring $(.c),$(1)))$(word 2,x$(1)x)),'$(subst ','\'',$(1))',$(1))
GIVEN = $(foreach .o,$(NAMES),$(call QUOTED,$(.o)=$(value $(.o)))) $(set)

# Stages of sound event detection run in their own environment as soon as `make setup-sed` has made it.
sed-%: private ASD := $(if $(wildcard .venv-sed/ready),.venv-sed/bin,$(BIN))/python -m asd

.DEFAULT_GOAL := help
.PHONY: $(shell awk -F: '/^[a-z-]+:.*## / {print $$1}' $(firstword $(MAKEFILE_LIST)))

help:  ## this list
	@awk -F ':.*## ' '/^##@ / {print "\n" substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-21s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo; echo 'options: machine= data= year= detector= seeds=0,1,2 name= set="key=value ..."; all of them: asd STAGE --help'

##@ Start here

setup: .venv/ready  ## the environment: locked dependencies into .venv

demo: setup  ## everything once on synthetic machines: train, score, evaluate, package
	$(ASD) demo $(GIVEN)

##@ Detect anomalies

train: setup  ## fit and score: make train machine=fan [data=DIR] [detector=...] [seeds=0,1,2] [name=RUN]
	$(ASD) train $(GIVEN)

enroll: setup  ## a model from a handful of normal recordings: make enroll machine=pump3 normal="my recordings"
	$(ASD) enroll $(GIVEN)

score: setup  ## score the test clips again: make score machine=fan name=RUN [weights=FILE]
	$(ASD) score $(GIVEN)

evaluate: setup  ## AUC and pAUC per machine and domain: make evaluate name=RUN
	$(ASD) evaluate $(GIVEN)

fuse: setup  ## one run of several: make fuse members=RUN1,RUN2 name=RUN [method=z|rank]
	$(ASD) fuse $(GIVEN)

predict: setup  ## score any recordings: make predict name=RUN audio=FILE|FOLDER|"*.wav" [out=DIR]
	$(ASD) predict $(GIVEN)

explain: setup  ## what moved a score: make explain machine=fan name=RUN [clip=FILE.wav] [worst=3]
	$(ASD) explain $(GIVEN)

report: setup  ## one page to look at and listen to: make report name=RUN [members=A,B] [out=FILE]
	$(ASD) report $(GIVEN)

benchmark: setup  ## many methods in one table: make benchmark data=DIR [methods=FILE] [workers=2] [page=FILE]
	$(ASD) benchmark $(GIVEN)

sweep: setup  ## many configurations tried: make sweep data=DIR space=FILE.yaml [method=optuna] [executor=ray]
	$(ASD) sweep $(GIVEN)

reproduce: setup  ## a year in one go, beside published scores: make reproduce year=2023 [machine=...] [methods=FILE]
	$(ASD) reproduce $(GIVEN)

leaderboard: setup  ## runs in order, with paired differences: make leaderboard [members=RUN1,RUN2:SCORER]
	$(ASD) leaderboard $(GIVEN)

listen: setup  ## score a stream, raise alarms: make listen name=RUN input=-|FILE|FOLDER|CARD [mqtt=...]
	$(ASD) listen $(GIVEN)

serve: setup  ## scores over HTTP: make serve [runs=DIR] [name=RUN] [port=8000] [token=...]
	$(ASD) serve $(GIVEN)

export: setup  ## a model as one ONNX graph: make export name=RUN machine=M out=M.onnx [scorer=...]
	$(ASD) export $(GIVEN)

##@ Take part in the challenge

data: setup  ## published data of a year: make data year=2025 [machine=...] [part=dev|train|eval|all]
	$(ASD) data $(GIVEN)

data-check: setup  ## what of it is present, missing or damaged: make data-check year=2025
	$(ASD) data-check $(GIVEN)

submit: setup  ## challenge package: make submit name=RUN label=Nishida_HIT_task2_1 year=2025
	$(ASD) submit $(GIVEN)

bundle: setup  ## up to four systems in one archive: make bundle team=Nishida_HIT report=FILE.pdf [dry_run=true]
	$(ASD) bundle $(GIVEN)

validate: setup  ## every defect of a package: make validate path=submissions/LABEL year=2025
	$(ASD) validate $(GIVEN)

##@ Detect sound events (docs/sed.md)

setup-sed: .venv-sed/ready  ## the environment of the event measures, whose libraries need older ones

sed-make-soundscapes: setup  ## a labelled data folder, mixed from recordings (docs/sed.md)
	$(ASD) sed make-soundscapes $(GIVEN)

sed-train: setup  ## learn events: make sed-train data=DIR [name=RUN] [seeds=0,1,2] [set="loss.name=afl"]
	$(ASD) sed train $(GIVEN)

sed-score: setup  ## find events in recordings: make sed-score name=RUN audio=DIR
	$(ASD) sed score $(GIVEN)

sed-evaluate: setup  ## frames, clips and events, student and teacher: make sed-evaluate name=RUN
	$(ASD) sed evaluate $(GIVEN)

sed-report: setup  ## compare runs: make sed-report members=BASELINE,RUN
	$(ASD) sed report $(GIVEN)

##@ Repeat the studies behind the pages of docs/

microphones: setup  ## what front ends for two microphones gain at known noise (docs/microphones.md)
	$(ASD) study microphones $(GIVEN)

supplemental: setup  ## what noise-only and clean recordings gain at known noise (docs/supplemental.md)
	$(ASD) study supplemental $(GIVEN)

reuse-study: setup  ## networks and losses of the core in the detector embedding (docs/reuse.md)
	$(ASD) study reuse $(GIVEN)

fusion-study: setup  ## several modalities joined in three ways, and each alone (docs/fusion.md)
	$(ASD) study fusion $(GIVEN)

digits: setup  ## spoken digits from the waveform, by known and unseen speakers (docs/digits.md)
	$(ASD) study digits $(GIVEN)

sed-losses: setup  ## eight losses, two networks, unequal events (docs/sed_losses.md)
	$(ASD) study losses $(GIVEN)

sed-cmt: setup  ## mean teacher and confident mean teacher with few labels (docs/sed_cmt.md)
	$(ASD) study cmt $(GIVEN)

##@ Work on the code

test: setup  ## the tests, under five minutes without a GPU
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow and not gpu"

test-sed: setup-sed  ## the tests of what needs that environment
	.venv-sed/bin/python -m pytest -m sed

test-all: setup  ## all tests, the slow ones too; those for the GPU run where there is one
	$(BIN)/pytest -n 2 --dist loadfile

lint: setup  ## style, types and the import rules of ARCHITECTURE.md
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup  ## the site of docs/ with an API reference, in site/; make docs set=--strict fails on a warning
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet $(set)

wheel: setup  ## the wheel, built, installed into an environment of its own and tried there
	$(BIN)/python tools/try_wheel.py

bench: setup  ## our side of BENCHMARKS.md, measured on this machine
	$(BIN)/python tools/bench.py $(GIVEN)

mutate: setup  ## changed lines that no test notices (docs/mutation.md): hours, goes on where it was stopped; set=sample=1000
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade --target $(CURDIR)/.mutate "mutmut>=3.8,<4" "pyyaml!=6.0.4"
	nice -n 15 $(BIN)/python tools/mutate.py $(set)

clean:  ## caches and the demonstration; runs and downloaded data stay
	rm -rf site build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	rm -rf runs/.cache runs/demo data/demo submissions/Demo_ASD_task2_1 submissions/Demo_ASD_task2_1.zip

INSTALL = $(@D)/bin/python -m pip --quiet --disable-pip-version-check install
SITE = bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than 3.11; say make setup PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv $(@D)
	$(INSTALL) --require-hashes -r $<
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

# It reads the packages of the first environment and holds only those that differ: 0.2 GB instead of 8.
.venv-sed/ready: requirements-sed.lock .venv/ready
	$(PYTHON) -m venv --clear $(@D)
	.venv/$(SITE) > "$$($(@D)/$(SITE))/first.pth"
	$(INSTALL) --require-hashes -r $<
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@
