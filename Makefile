# Two commands: `make run` installs tamis and shows a real curation; `make test` does all set-up that the tests need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A file stays with one worker: what its tests share is made once.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: run test test-all consumers lint types site dist try-dist clean
run: $(VENV)/.installed
	$(BIN)/tamis demo

test: $(VENV)/.installed-for-tests lint types
	$(PYTEST) -m "not thorough"

# What takes long: whole servers, a cluster, all kills, trainings.
test-all: $(VENV)/.installed-for-tests consumers
	$(PYTEST) -m thorough

# Who reads what tamis writes, each in an environment of its own: they want other versions than tamis, and are many.
consumers: .consumers/label-studio/.installed .consumers/tools/.installed

.consumers/label-studio/.installed: tests/consumers/label_studio.txt
.consumers/tools/.installed: tests/consumers/tools.txt
.consumers/%/.installed:
	$(PYTHON) -m venv .consumers/$*
	.consumers/$*/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

lint: $(VENV)/.installed-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

# On the installed wheel: type checkers don't follow an editable install.
types: $(VENV)/.installed-for-tests
	rm -rf build
	$(BIN)/pip install --quiet --no-deps --target build/types .
	cd build/types && ../../$(BIN)/mypy --config-file ../../pyproject.toml -p tamis.pipeline -p tamis.selectors -p tamis.flows -p tamis.sql
	rm -rf build

# docs/ as pages, in build/site; a link that leads nowhere is an error.
site: $(VENV)/.installed-for-tests
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# What is released, and whether it works where nothing else is.
dist: $(VENV)/.installed-for-tests
	rm -rf dist
	$(BIN)/python -m build --outdir dist . > /dev/null
	ls -l dist

try-dist: dist
	rm -rf build/bare build/bare-demo
	$(PYTHON) -m venv build/bare
	build/bare/bin/pip install --quiet --disable-pip-version-check -c constraints.txt dist/*.whl
	cd build && bare/bin/tamis demo --folder bare-demo && bare/bin/tamis verify bare-demo/store/runs/demo

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-for-tests: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,dev]'
	touch $@

clean:
	rm -rf $(VENV) .consumers build dist tamis-demo *.egg-info
