# Two commands matter: `make run` and `make test`. Both set up what they need.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
CONFIG ?= config/gateway.toml
# Roots of other architectures are made once and kept here; they are large, so not in the repository.
SHIPPING_CACHE ?= $(HOME)/.cache/gateway-bridge
ARCH   ?= armv7l
# Most of the tests' time is waiting: three workers on two cores.
TEST_WORKERS ?= 3
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -1)
PIP     = $(BIN)/python -m pip --disable-pip-version-check --quiet

# LAN=1 opens the device listeners to private networks.
ifeq ($(LAN),1)
RUN_FLAGS += --lan
endif

.PHONY: help run demo hub test check-style unit soak fault-matrix test-bluez bench fuzz sbom audit lock release-check bundle test-bundle test-systemd test-compose clean venv test-deps system-deps sim-hub

help: ## Show the targets
	@grep -hE '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: $(VENV)/.installed ## Start the gateway with config/gateway.toml and the demo model (LAN=1 opens it to private networks)
	@exec $(BIN)/gateway run --config $(CONFIG) $(RUN_FLAGS)

demo: $(VENV)/.installed ## A whole site on this machine, with failures, and a ledger at the end (DEMO="--seconds 300")
	@$(BIN)/gateway demo $(DEMO)

hub: $(VENV)/.installed ## Start the IoT Hub stand-in, to see events arrive without an account
	@exec $(BIN)/gateway simulate hub

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; found " + sys.version.split()[0])'
	@echo "Making the virtual environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || { echo "No venv support: install it (Debian: apt-get install python3-venv) and try again."; rm -rf $(VENV); exit 1; }

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "Installing what the gateway needs (about a minute the first time) ..."
	@$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@echo "Installing what the tests need ..."
	@$(PIP) install -c constraints.txt -e '.[test]'
	@touch $@

system-deps:
	@sh tests/install_system_packages.sh

test: $(VENV)/.installed-test system-deps check-style unit ## Run everything: style, types, architecture, all tests

check-style: $(VENV)/.installed-test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "Run: $(BIN)/ruff format ."; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

unit: $(VENV)/.installed-test
	@$(BIN)/python -m pytest -m "not soak and not shipped" -n $(TEST_WORKERS) --dist worksteal $(PYTEST_FLAGS)

soak: $(VENV)/.installed-test system-deps ## Fault tests with large budgets (hours); SOAK_ROUNDS=100
	@SOAK_ROUNDS=$${SOAK_ROUNDS:-100} $(BIN)/python -m pytest tests/crash tests/faults tests/simulation -m "soak or not soak" --timeout 14400 $(PYTEST_FLAGS)

fault-matrix: $(VENV)/.installed-test system-deps ## Every fault at every way in, and the table of docs/DELIVERY.md (FLAGS="--cycles 20 --minutes 60")
	@$(BIN)/python -m tests.faults $(FLAGS)

$(VENV)/.installed-test-bluez: $(VENV)/.installed-test
	@$(PIP) install -c constraints.txt -e '.[test-bluez]'
	@touch $@

test-bluez: $(VENV)/.installed-test-bluez ## BLE on the real bluetoothd, in QEMU (a few minutes; installs QEMU with apt)
	@$(BIN)/python -m tests.bluez_vm

$(VENV)/.installed-fuzz: $(VENV)/.installed-test
	@$(PIP) install -c constraints.txt -e '.[fuzz]' || echo "atheris does not install here: inputs are changed at random"
	@touch $@

fuzz: $(VENV)/.installed-fuzz ## Fuzz what reads strangers' bytes, with progress (FUZZ="--minutes 60 --target mqtt")
	@$(BIN)/python -m tests.fuzz $(FUZZ)

bench: $(VENV)/.installed-test ## Measure, each figure beside its bare limit, one table
	@$(BIN)/python -m benchmarks

$(VENV)/.installed-release: $(VENV)/.installed-test
	@$(PIP) install -c constraints.txt -e '.[release]'
	@touch $@

sbom: $(VENV)/.installed-test ## The software bill of materials, CycloneDX JSON, in dist/
	@$(BIN)/python -m release.sbom

audit: $(VENV)/.installed-test ## Ask osv.dev for vulnerabilities of what is locked: status 1 found, 3 not reached
	@$(BIN)/python -m release.audit

release-check: $(VENV)/.installed-release ## What must hold before a release, as a list (FLAGS=--bare-root: README's commands in a fresh Debian, too)
	@$(BIN)/python -m release $(FLAGS)

image-%: ## image-arm32v7, image-amd64, image-arm64: with Docker, or without its engine (buildah, QEMU; Debian, root)
	@sh shipping/image.sh build $* $(SHIPPING_CACHE)

save-image-%: image-% ## One file for "docker load", where no registry is reached: save-image-arm32v7, dist/gateway-VERSION-arm32v7.tar.gz
	@sh shipping/image.sh save $* dist/gateway-$(VERSION)-$*.tar.gz

test-image-%: $(VENV)/.installed-test image-% ## Run the image and the tests of vision and outbox in it (root; minutes)
	@IMAGE=$$(sh shipping/image.sh name $*) SHIPPING_CACHE=$(SHIPPING_CACHE) $(BIN)/python -m pytest -m shipped -s tests/shipped/test_image.py $(PYTEST_FLAGS)

bundle: $(VENV)/.installed-test ## One archive that installs without a network: ARCH=armv7l (root), aarch64 or x86_64
	@$(BIN)/python -m shipping.bundle $(ARCH) $(SHIPPING_CACHE)

test-bundle: $(VENV)/.installed-test bundle ## Install the bundle in a bare Debian without a network, upgrade it, go back (root; minutes)
	@BUNDLE_ARCH=$(ARCH) SHIPPING_CACHE=$(SHIPPING_CACHE) $(BIN)/python -m pytest -m shipped tests/shipped/test_bundle.py $(PYTEST_FLAGS)

test-systemd: $(VENV)/.installed-test ## The bundle where systemd is process 1: installed, stalled, killed, power cut, upgraded, removed (root; minutes)
	@$(MAKE) --no-print-directory bundle ARCH=x86_64
	@SHIPPING_CACHE=$(SHIPPING_CACHE) $(BIN)/python -m pytest -m shipped -s tests/shipped/test_site_systemd.py tests/shipped/test_site_power.py $(PYTEST_FLAGS)

test-compose: $(VENV)/.installed-test image-amd64 ## config/compose.yaml on a Docker engine of the test's own (root, Debian; minutes)
	@SHIPPING_CACHE=$(SHIPPING_CACHE) $(BIN)/python -m pytest -m shipped -s tests/shipped/test_site_compose.py $(PYTEST_FLAGS)

lock: ## Renew constraints.txt (needs uv)
	@uv pip compile --universal --python-version 3.11 --extra test --extra test-bluez --extra fuzz --extra release --extra train --extra ble --extra ble-sensors --quiet --no-header --no-annotate --upgrade pyproject.toml -o constraints.txt
	@$(BIN)/python -m shipping.closure

clean: ## Remove what was built here; data/ stays
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
