# Commands of a checkout. It needs a POSIX shell and Python >= 3.11 (with venv), and brings everything else itself.

PYTHON =
ONCE ?=
ARGS =
ROUNDS = 10
# More than there are cores, for most tests wait most of their time. The longest tests come first (tests/harness/order.py).
WORKERS_OF_TESTS = 4

# The processes of a run share their compiled files, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE

# The versions the locks were tried with come first. `.venv` comes before all, for it may be the only one that works here.
PYTHONS = .venv/bin/python python3.13 python3.12 python3.11 python3.14 python3 python
BOOTSTRAP = grab_service/embedded/bootstrap.py
# A program started this way ends when make does, even if make is killed.
WITH_MAKE = .venv/bin/python -I grab_service/launch.py with-parent

.PHONY: help demo excerpt run test test-fast faults bench profile mutants sample proportions lint format lock pin-images clean set-up-run set-up-dev
.DEFAULT_GOAL := help

help: ## show this list
	@while IFS= read -r line; do case "$$line" in \
	  [a-z]*:*'##'*) printf '  make %-10s %s\n' "$${line%%:*}" "$${line##*## }";; esac; done < Makefile

demo: set-up-run ## 110,000 members rush for 3,000 units, audited; ONCE=1 stops afterwards, ARGS= goes to `grab demo`
	@$(WITH_MAKE) .venv/bin/grab demo $(if $(filter-out 0,$(ONCE)),--once) $(ARGS)

excerpt: set-up-dev ## run the demo on a quiet machine, and show its end in README.md
	@$(WITH_MAKE) .venv/bin/python -m bench.excerpt

run: set-up-run ## serve with the demo's members until Ctrl-C; ARGS= goes to `grab run`
	@$(WITH_MAKE) .venv/bin/grab run $(ARGS)

test: set-up-dev ## run every test, on real servers; ARGS= goes to pytest
	@$(WITH_MAKE) .venv/bin/python -m pytest -n $(WORKERS_OF_TESTS) $(ARGS)

test-fast: set-up-dev ## run the tests that take seconds
	@$(WITH_MAKE) .venv/bin/python -m pytest -n $(WORKERS_OF_TESTS) -m "not slow" $(ARGS)

faults: set-up-dev ## break everything under load, ROUNDS= of each fault; ARGS="-k power_cut" picks; writes docs/RELIABILITY.md
	@.venv/bin/python -m tests.faults.prerequisites
	@status=0; GRAB_FAULT_ROUNDS=$(ROUNDS) $(WITH_MAKE) .venv/bin/python -m pytest -s tests/faults $(ARGS) || status=$$?; \
	  .venv/bin/python -m tests.faults.report; exit $$status

bench: set-up-dev ## measure it beside its peers, about half an hour; ARGS="speed ladder" picks; writes docs/PERFORMANCE.md
	@$(WITH_MAKE) .venv/bin/python -m bench $(ARGS)

profile: set-up-dev ## draw where service and ledger spend their time in a rush, into var/profile; ARGS="--seconds 20"
	@$(WITH_MAKE) .venv/bin/python -m bench.profiles $(ARGS)

mutants: set-up-dev ## take each guard away and see that a test misses it; ARGS="-k drain" picks; writes docs/GUARDS.md
	@status=0; GRAB_MUTANTS=all $(WITH_MAKE) .venv/bin/python -m pytest -n $(WORKERS_OF_TESTS) tests/mutants tests/lua/test_mutants.py \
	  $(ARGS) || status=$$?; .venv/bin/python -m tests.mutants.report; exit $$status

sample: set-up-dev ## change lines drawn by chance and see that a test notices, about half an hour; ARGS="--seed 2", ARGS=--help
	@$(WITH_MAKE) .venv/bin/python -m tests.mutants.sample $(ARGS)

proportions: set-up-dev ## print the lines of code by folder
	@$(WITH_MAKE) .venv/bin/python -m tests.harness.proportions

lint: set-up-dev ## style, types, and who may import whom
	.venv/bin/python -m ruff check
	.venv/bin/python -m ruff format --check
	.venv/bin/python -m mypy
	.venv/bin/lint-imports

format: set-up-dev ## let ruff format and mend what it can
	.venv/bin/python -m ruff check --fix
	.venv/bin/python -m ruff format

lock: ## bring requirements/*.lock up to pyproject.toml; ARGS=--upgrade takes newer versions
	@set -e; uv=$$(command -v uv) || { \
	  place=$$(mktemp -d); trap 'rm -rf "$$place"' EXIT; \
	  $(or $(PYTHON),python3) -m venv "$$place"; "$$place/bin/python" -m pip install -q uv; uv="$$place/bin/uv"; }; \
	compile() { "$$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header "$$@" $(ARGS) pyproject.toml; }; \
	compile --extra embedded --extra load --extra dev --extra bench -o requirements/dev.lock; \
	compile --extra embedded --extra load -c requirements/dev.lock -o requirements/run.lock; \
	compile -c requirements/dev.lock -o requirements/image.lock

pin-images: ## name the images of deploy/ by digest, where there is a container engine
	@$(or $(PYTHON),python3) deploy/pin_images.py

clean: ## take away the environment, the caches and the servers' data
	@$(call bootstrap,clean)

set-up-run:
	@$(call bootstrap,run)

set-up-dev:
	@$(call bootstrap,dev)

# The first Python that has all it takes does it; else the first that is new enough, which then says what it lacks.
define bootstrap
for need in 'import ensurepip, venv' pass; do for python in $(if $(PYTHON),"$(PYTHON)",$(PYTHONS)); do \
  if "$$python" -I -c "import sys; $$need; sys.exit(sys.version_info < (3, 11))" 2>/dev/null; then \
    exec "$$python" -I $(BOOTSTRAP) $(1); fi; done; done; \
echo 'Python >= 3.11 is needed. What is here:' >&2; \
for python in $(if $(PYTHON),"$(PYTHON)",$(PYTHONS)); do \
  if command -v "$$python" >/dev/null; then echo "  $$python: $$("$$python" -V 2>&1)" >&2; fi; done; \
echo 'Install one (Debian, Ubuntu: apt install python3 python3-venv) or name it, as in `make demo PYTHON=/path/to/python3.12`.' >&2; \
exit 1
endef
