# Every target sets up what it needs on a fresh Debian or Ubuntu with Python 3.11 or newer and make.

# The system's interpreter first: it is built with every optimisation, and a service user may read it.
new_enough := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for one in /usr/bin/python3 python3; do $$one $(new_enough) 2>/dev/null && echo $$one && exit; done; echo python3)
# What the native module and the TPM's library are compiled with; an interpreter that is not Debian's brings its own.
headers = $(if $(filter /usr/bin/%,$(PYTHON)),python3-dev)
# The TPM's resource manager in user space, and what another program does with the TPM meanwhile.
manager := dbus-daemon tpm2-abrmd libtss2-tcti-tabrmd0 tpm2-tools
# Which looks at the verifier's page.
browser := chromium chromium-driver fonts-dejavu-core
# Which use the PKCS#11 module.
pkcs11_programs := curl gnutls-bin nginx-light opensc openssh-client openssh-server default-jdk-headless libp11-kit-dev pkg-config
ROUNDS ?= 200
PYTEST_ARGS ?=

venv := .venv
bin := $(venv)/bin
dev := $(venv)/.installed-dev
bench := $(venv)/.installed-bench
# What the linters look at; some of it comes later than the rest.
sources := $(wildcard src tests peers scripts bench fuzz examples)
# What others run, without types: hatchling and bitbake.
untyped := $(wildcard hatch_build.py meta-edgeroot/lib)

.DEFAULT_GOAL := help
.PHONY: help reach setup demo demo-edge test soak lint format bench docs site peers native deb release chart cluster cluster-test clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

reach:
	@scripts/in_reach.sh $(MAKECMDGOALS)

setup: $(dev) ## install edgeroot and its development tools into .venv

$(dev): pyproject.toml hatch_build.py $(wildcard src/edgeroot/*/*.c)
	@$(PYTHON) $(new_enough) \
		|| { echo 'error: $(PYTHON) is missing or older than 3.11 (PYTHON=... chooses another)' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || scripts/debian_packages.sh python3-venv
	@scripts/debian_packages.sh gcc libc6-dev libtss2-dev pkg-config $(headers)
	@test -x $(bin)/pip || $(PYTHON) -m venv --clear $(venv)
	$(bin)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(bench): $(dev)
	$(bin)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,bench]'
	@touch $@

demo: reach $(dev) ## from nothing to a running service and a short story with it; leaves nothing running
	@scripts/debian_packages.sh openssl bubblewrap libseccomp2
	@scripts/debian_packages.sh softhsm2 swtpm || echo 'without them the demo leaves out their chapters' >&2
	@$(bin)/python examples/demo.py
	@$(bin)/python examples/back_ends.py
	@$(bin)/python examples/root_of_trust.py

demo-edge: reach cluster native ## a fleet on a genuine Kubernetes: joined by proof, tampered with, updated (root; five minutes)
	@scripts/debian_packages.sh openssl bubblewrap libseccomp2
	@scripts/debian_packages.sh $(browser) || echo 'without a browser the demo takes no pictures' >&2
	@$(bin)/python -m examples.edge_fleet

peers: $(dev) ## set up the genuine upstream programs that tests and benchmarks run against (root)
	@$(bin)/python -m peers
	@$(bin)/python -m peers.rust
	@$(bin)/python -m peers.debian_root
	@$(bin)/python -m peers.pebble

native: ## build the PKCS#11 module: native/pkcs11/target/release/libedgeroot_pkcs11.so
	@PATH="$$PATH:$$HOME/.cargo/bin"; cargo --version > /dev/null 2>&1 || scripts/debian_packages.sh cargo; \
		cd native/pkcs11 && cargo build --release --quiet --locked --offline

deb: $(dev) native ## build the Debian packages, for this machine's release, in dist/
	@$(bin)/python scripts/build_deb.py

release: $(dev) native ## build all that a release consists of in dist/, signed by the service's key KEY=...
	@$(bin)/python scripts/build_release.py $(if $(KEY),--key $(KEY))

cluster: $(dev) ## build the genuine Kubernetes that tests run against (root; a quarter of an hour the first time)
	@$(bin)/python -m peers.kubernetes

chart: $(dev) ## get the genuine Helm and promtool that the chart is tested with (four minutes the first time)
	@$(bin)/python -m peers.helm
	@$(bin)/python -m peers.promtool

cluster-test: reach cluster chart native ## the tests against a genuine Kubernetes
	$(bin)/python -m pytest -m cluster $(PYTEST_ARGS)

test: reach peers cluster native ## every test, with few rounds of those that repeat, and few of cluster-test
	@scripts/debian_packages.sh openssl bubblewrap libseccomp2 softhsm2 swtpm systemd runc lintian xxd $(manager) $(browser) $(pkcs11_programs)
	@scripts/openssl_provider.sh
	$(bin)/python -m pytest -m 'not cluster or smoke' $(PYTEST_ARGS)

soak: reach peers ## the tests that repeat, with ROUNDS=200 rounds
	@scripts/debian_packages.sh openssl bubblewrap libseccomp2 softhsm2 swtpm $(manager)
	$(bin)/python -m pytest -m rounds --rounds $(ROUNDS) --timeout 3600 -o faulthandler_timeout=3900 $(PYTEST_ARGS)

lint: $(dev) ## style, types, and generated code against its source
	$(bin)/ruff check $(sources) $(untyped)
	$(bin)/ruff format --check $(sources) $(untyped)
	$(bin)/mypy $(sources)
	$(bin)/python scripts/generate_wire.py --check
	$(bin)/python scripts/generate_reference.py --check
	$(bin)/python scripts/lock_libraries.py --check

format: $(dev) ## put the sources into the formatter's shape
	$(bin)/ruff check --fix $(sources) $(untyped)
	$(bin)/ruff format $(sources) $(untyped)

bench: reach $(bench) peers native ## compare with upstream's service on this machine
	@scripts/debian_packages.sh bubblewrap libseccomp2 softhsm2 swtpm $(pkcs11_programs)
	@scripts/openssl_provider.sh
	@$(bin)/python -m bench

docs: reach $(dev) native ## check the documentation's links and run its marked examples
	@scripts/debian_packages.sh openssl bubblewrap libseccomp2 softhsm2 swtpm tpm2-tools xxd $(pkcs11_programs)
	@scripts/openssl_provider.sh
	@$(bin)/python scripts/check_docs.py

site: $(dev) ## build the documentation's site in build/site
	@$(bin)/python scripts/build_site.py

clean: ## remove what the other targets made here
	rm -rf $(venv) build dist native/*/target .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
