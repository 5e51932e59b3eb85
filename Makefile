# make demo   build, apply examples/two-tier.hcl for real, and send it some load
# make demo-scale  the same under a spike: sizes follow it and go back, drawn in demo-scale.svg
# make test   everything that CI runs: vet, format, lint, tests under the race detector
# make lab    a shell beside a container engine of its own; CMD='...' runs that instead
# make with-libvirt  the tests with virtual machines
# make live   the tests that need such an engine, all of them: kill -9 at every point
# make build  bin/flowctl and bin/flowctl-demo
# make energy what the images of examples/smart-energy.hcl are made of
# make bench  the figures of docs/benchmarks.md, on this machine; bench-docker those with containers,
#             bench-libvirt those with virtual machines

GO      ?= go
SPEC    ?= examples/two-tier.hcl
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS := -s -w -X main.release=$(VERSION)

.PHONY: build demo demo-down test race lab live lint fmt bench docs golden clean

# The libvirt provider needs a C compiler; what is built without one says so when it
# is asked for a machine.
LIBVIRT := $(shell command -v gcc >/dev/null && echo 'CGO_ENABLED=1 $(GO) build -tags libvirt_dlopen' || echo 'CGO_ENABLED=0 $(GO) build')

build:
	$(LIBVIRT) -trimpath -ldflags '$(LDFLAGS)' -o bin/flowctl ./cmd/flowctl
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/flowctl-demo ./examples/demo

demo: build
	bin/flowctl apply -auto-approve $(SPEC)
	@echo
	bin/flowctl load -base=200 -duration=5s "$$(bin/flowctl output -spec=$(SPEC) -raw url)/api?n=15"
	@echo
	bin/flowctl status $(SPEC)
	@echo
	@echo "Both tiers answer at $$(bin/flowctl output -spec=$(SPEC) -raw url)"
	@echo "Edit $(SPEC) and run 'bin/flowctl apply $(SPEC)', or take it down with 'make demo-down'."

demo-down: build
	bin/flowctl destroy -auto-approve $(SPEC)

# SUBSTRATE=docker is the same in containers, in hack/lab, and SUBSTRATE=libvirt on virtual
# machines: with a load that those can carry which are emulated, and for as long as such a
# machine takes. SPEC may be any spec whose output url answers.
SUBSTRATE ?= local
demo-scale-docker: SPEC = examples/two-tier-docker.hcl
demo-scale-libvirt: FLAGS ?= -var=substrate=libvirt -var=rps=2 -base=2 -peak=14 -period=2m -at=20s
.PHONY: demo-scale demo-scale-local demo-scale-docker demo-scale-libvirt
demo-scale: build demo-scale-$(SUBSTRATE)
demo-scale-local:
	$(GO) run ./bench -only scale -spec=$(SPEC) -plot=demo-scale.svg $(FLAGS)
demo-scale-docker:
	hack/lab $(GO) run ./bench -only scale -spec=$(SPEC) -plot=demo-scale.svg $(FLAGS)
demo-scale-libvirt:
	hack/lab -machines $(GO) run ./bench -only scale -spec=$(SPEC) -plot=demo-scale.svg $(FLAGS)

test: lint race
	@hack/energy || test $$? = 75 # labs have no network
	@hack/lab $(MAKE) --no-print-directory with-engine || { test $$? = 75 && echo "the tests with containers were skipped"; }

# What needs a container engine, in hack/lab. Tests skip it elsewhere.
.PHONY: with-engine
with-engine:
	$(GO) test $$(command -v gcc >/dev/null && echo -race) -timeout 20m ./providers/docker
	$(GO) test $$(command -v gcc >/dev/null && echo -race) -timeout 20m -run TestDocker ./cmd/flowctl

.PHONY: energy
energy:
	hack/energy

# What needs real machines, in hack/lab -machines: emulated ones, mostly, which take
# minutes, so that make test goes without.
.PHONY: with-libvirt
with-libvirt:
	CGO_ENABLED=1 hack/lab -machines $(GO) test -count=1 -tags libvirt_dlopen -parallel 1 -timeout 1h -run TestLibvirt ./cmd/flowctl

lab:
	hack/lab $(or $(CMD),bash)

live:
	hack/energy || test $$? = 75
	FLOWCTL_TEST_EVERY_POINT=1 hack/lab $(GO) test -count=1 -timeout 1h ./providers/docker
	FLOWCTL_TEST_EVERY_POINT=1 hack/lab $(GO) test -count=1 -timeout 1h -run TestDocker ./cmd/flowctl
	FLOWCTL_TEST_EVERY_POINT=1 $(GO) test -count=1 -timeout 1h -run 'Rollout|KilledAt|Convergence' ./runtime ./cmd/flowctl
	FLOWCTL_TEST_EVERY_POINT=1 $(GO) test -count=1 -timeout 1h -run SimulatedAsLive ./runtime/control
	FLOWCTL_TEST_EVERY_POINT=1 $(MAKE) --no-print-directory with-libvirt

# The race detector needs a C compiler; hack/setup installs one where it may.
race:
	hack/setup
	$(GO) test $$(command -v gcc >/dev/null && echo -race || echo -count=1) -parallel 4 -timeout 20m ./...
	if command -v gcc >/dev/null; then CGO_ENABLED=1 $(GO) test -tags libvirt_dlopen ./providers/libvirt; fi

lint:
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "not formatted: $$unformatted"; exit 1; }
	$(GO) run ./cmd/flowctl fmt -check -recursive examples

fmt:
	gofmt -w $$(git ls-files '*.go')
	$(GO) run ./cmd/flowctl fmt -recursive examples

bench: build
	$(GO) run ./bench

# Containers, in hack/lab, beside docker-compose if that is there or may be installed.
.PHONY: bench-docker
bench-docker: build
	hack/setup docker-compose
	hack/lab $(GO) run ./bench -only containers

# Virtual machines, in hack/lab -machines: started, and made of a golden one's state. It
# takes some minutes where they are emulated.
.PHONY: bench-libvirt
bench-libvirt: build
	CGO_ENABLED=1 hack/lab -machines $(GO) run -tags libvirt_dlopen ./bench -only machines

# How soon a new replica answers after the load has risen, over many spikes; in hack/lab
# with containers.
.PHONY: bench-reaction
bench-reaction: build
	$(GO) run ./bench -only reaction

# What the controller costs: of 2,000 rules, and of a small flow at rest.
.PHONY: bench-loop
bench-loop: build
	$(GO) run ./bench -only loop

docs:
	$(GO) test ./internal/docs -update

golden:
	UPDATE=1 $(GO) test ./cmd/flowctl -run TestScripts
	$(GO) test ./spec -run 'TestMessages|TestMeaning' -update
	UPDATE=1 $(GO) test ./engine/graph -run 'TestBuild$$'

clean:
	rm -rf bin examples/smart-energy/build
