# Set-up and the two things that a newcomer does: `make demo` and `make test`. Both can be run again at any time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DOCS := .venv-docs

.PHONY: demo test pytest coverage test-browser images lint docs audit-dependencies clean

demo: $(VENV)/installed
	@echo "== dilm distill (embedded reviews, 12 minutes on 2 cores, 6 where they have bfloat16)"
	$(BIN)/dilm distill

test: lint pytest

pytest: $(VENV)/installed-dev
	@echo "== tests"
	$(BIN)/python -m pytest -n 2 --dist worksteal

# The same tests, traced, which takes half as long again: 90% of the lines are to be reached.
coverage: $(VENV)/installed-dev
	@echo "== tests, with coverage"
	$(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report=term:skip-covered --cov-fail-under=90

# Needs a browser: apt-get install chromium chromium-driver
test-browser: $(VENV)/installed-dev
	@echo "== the report in a browser"
	$(BIN)/python -m pytest -m browser

# The report's pictures in docs/images, from a finished run: make images RUN=runs/reviews
images: $(VENV)/installed-dev
	$(BIN)/python benchmarks/report_images.py $(RUN)

lint: $(VENV)/installed-dev
	@echo "== lint and types"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python

# Pages under site/, any warning being an error; they fetch nothing from elsewhere.
docs: $(DOCS)/installed
	@echo "== docs"
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict --quiet

# Fails only for a vulnerability with a fixed release; without a network, or without pip-audit, it says so and passes.
audit-dependencies: $(VENV)/installed-dev
	@echo "== known vulnerabilities of the installed packages"
	-$(BIN)/pip install --quiet --constraint constraints.txt pip-audit
	$(BIN)/python .ci/audit_dependencies.py

# torch first and alone: with it in place nothing else asks for another build of it.
$(VENV)/torch: pyproject.toml constraints.txt
	@echo "== installing into $(VENV) (a few minutes the first time)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	@touch $@

$(VENV)/installed: $(VENV)/torch
	@echo "== installing dilm"
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[offline,report]'
	@touch $@

$(VENV)/installed-dev: $(VENV)/torch
	@echo "== installing what the tests need"
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[offline,report,dev]'
	@touch $@

# An environment of its own, without torch: the pages are made from the sources as they are read.
$(DOCS)/installed: docs/requirements.txt constraints.txt
	@echo "== installing what the docs need"
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/pip install --quiet --constraint constraints.txt --requirement docs/requirements.txt
	@touch $@

clean:
	rm -rf $(VENV) $(DOCS) runs site .pytest_cache .ruff_cache
