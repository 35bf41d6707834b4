# Needs a Python from 3.11 to 3.13, git and make. What else a target needs, it installs (Debian: as root
# or by sudo). An installation is only made again when the lock file or the project's own data changed.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON := .venv/bin/python
# The folder's name is part of the stamp's, since an environment cannot be moved.
STAMP := .venv/.installed$(subst /,-,$(CURDIR))
SOURCES := poetry.lock pyproject.toml .ci/install .ci/locked_requirements.py .ci/build-requirements.txt

# What the tests start: container runtimes, a static busybox to make an image of, curl for the README, ps,
# web servers that list directories, an FTP server and what checks its users, what docker/dts takes to build,
# a Ceph object gateway with the little cluster that it needs, Slurm, the `python` of CWL's conformance tests, a
# browser with a font, what looks at units of systemd.
TEST_PACKAGES := docker.io iptables podman runc bubblewrap busybox-static curl procps nginx-light apache2-bin \
    vsftpd libpam-pwdfile openssl docker-compose debootstrap faketime \
    ceph-mon ceph-osd radosgw rabbitmq-server slurm-wlm munge python-is-python3 chromium fonts-dejavu-core systemd
# They start a Docker daemon, make users and enter namespaces: that takes root.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo env "PATH=$$PATH" PYTHONDONTWRITEBYTECODE=1)

.PHONY: help install install-dev demo serve test test-quick test-services deployment fuzz lint audit threats docs reference wheel test-whole bench bench-api bench-auth bench-logins \
    bench-staging bench-throughput bench-wes conformance faults

help:  ## show this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "make %-17s%s\n", $$1, $$2}'

install: $(STAMP)  ## install the server and the tesp command into .venv
install-dev: $(STAMP)-dev  ## ... and the tools for tests and linting

$(STAMP): $(SOURCES)
	@.ci/install main
	@touch $@

$(STAMP)-dev: $(STAMP)
	@.ci/install main dev
	@touch $@

demo: $(STAMP)  ## run a genome through three executors and show every step
	@.venv/bin/tesp demo

serve: $(STAMP)  ## start a server at http://127.0.0.1:8080 (ARGS="--port 9000" and so on)
	@$(PYTHON) -m tesp_api.cli.runtimes 2>/dev/null || { \
	    .ci/apt-install bubblewrap && { $(PYTHON) -m tesp_api.cli.runtimes || true; }; }
	@.venv/bin/tesp serve --data tesp-data --allow-bubblewrap $(ARGS)

test: $(STAMP)-dev test-services  ## run all tests, with real services (as root or by sudo)
	@$(AS_ROOT) .ci/test $(ARGS)

test-whole: $(STAMP)-dev test-services  ## the same with the cases that it leaves out
	@$(AS_ROOT) env TESP_TESTS=whole .ci/test $(ARGS)

test-services: $(STAMP)-dev
	@.ci/apt-install $(TEST_PACKAGES)
	@$(PYTHON) -m tests.services.install

test-quick: $(STAMP)-dev  ## run the tests that need no services
	@$(PYTHON) -m pytest -m "not services" $(ARGS)

faults: $(STAMP)-dev test-services  ## kill, pause and cut everything in every phase of a task; for an hour or two
	@$(AS_ROOT) $(PYTHON) -m tests.acceptance.faults $(ARGS)

deployment: $(STAMP)-dev test-services  ## build the images and try each profile of docker-compose.yaml (ARGS="pulsar amqp")
	@$(AS_ROOT) $(PYTHON) -m tests.acceptance.deployment $(ARGS)

conformance: $(STAMP)-dev test-services  ## run CWL's conformance suite (SUITE=path of a copy of cwl-v1.2, ARGS="--part 1/8")
	@$(AS_ROOT) $(PYTHON) -m tests.conformance $(SUITE) $(ARGS)

fuzz: $(STAMP)-dev  ## send the API and the worker channel made-up requests for ten minutes
	@TESP_FUZZ_S=$${TESP_FUZZ_S:-600} TESP_FUZZ_SEED=$${TESP_FUZZ_SEED:-$$RANDOM} $(PYTHON) -m pytest \
	    tests/integration/api/test_schemathesis.py tests/integration/api/test_channel_fuzz.py --timeout 0 $(ARGS)

wheel: $(STAMP)-dev  ## build the wheel and the source archive in dist/
	@mkdir -p dist && for kind in sdist wheel; do \
	    $(PYTHON) -c "from poetry.core.masonry import api; print('dist/' + api.build_$$kind('dist'))" || exit; done

lint: $(STAMP)-dev  ## check the style, the formatting and the types
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy

audit: $(STAMP)-dev  ## look the locked packages up among the known vulnerabilities
	@$(PYTHON) .ci/audit.py $(ARGS)

threats: $(STAMP)-dev  ## write docs/threats.md, of the data in tests/security
	@$(PYTHON) -m tests.security.matrix $(ARGS)

docs: $(STAMP)-dev  ## make the documentation's site in .cache/site, and look for broken links
	@NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict --config-file docs/site/mkdocs.yml
	@echo "to look at it, with its search: python3 -m http.server --directory .cache/site 8000"

reference: $(STAMP)-dev  ## write docs/reference, of the code
	@$(PYTHON) -m docs.site.reference $(ARGS)

bench: $(STAMP)-dev test-services  ## measure how long a task takes above its bare container
	@$(AS_ROOT) $(PYTHON) -m bench.latency $(ARGS)

bench-api: $(STAMP)-dev test-services  ## measure the API with a million stored tasks (ARGS="--store mongodb")
	@$(AS_ROOT) $(PYTHON) -m bench.api $(ARGS)

bench-auth: $(STAMP)-dev  ## measure gets with logins beside gets without (ARGS="--seconds 5")
	@$(PYTHON) -m bench.auth $(ARGS)

bench-logins: $(STAMP)-dev  ## measure first logins after a restart while strangers send junk
	@$(PYTHON) -m bench.logins $(ARGS)

bench-staging: $(STAMP)-dev test-services  ## measure transfers beside curl and boto3 (ARGS="--bytes 600000000")
	@$(AS_ROOT) $(PYTHON) -m bench.staging $(ARGS)

bench-wes: $(STAMP)-dev test-services  ## measure workflow runs beside the same tasks (ARGS="--engine cwl")
	@$(AS_ROOT) $(PYTHON) -m bench.wes $(ARGS)

bench-throughput: $(STAMP)-dev test-services  ## measure tasks a second and 10,000 at once (ARGS="--only rest,live")
	@$(AS_ROOT) $(PYTHON) -m bench.throughput $(ARGS)
