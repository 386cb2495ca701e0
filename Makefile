# Everything a newcomer needs: `make sandbox` and `make test`. See CONTRIBUTING.md for the rest.
# The Python an environment is made with; if none is named, the better one of these.
PYTHON  ?=
PYTHONS := python3 /usr/bin/python3
VENV    ?= .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.installed
# Sources that are compiled: an edit of one installs anew.
HOT     := $(shell sed -n 's|^    "\(src/pyccf/.*\.py\)",.*|\1|p' setup.py)

.DEFAULT_GOAL := help
.PHONY: help install sandbox test sim check format bench bench-network soak-network fuzz fuzz-bytes bitrot replay conform sanitize-js drill clean

help:            ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(STAMP): pyproject.toml requirements.lock requirements-tools.txt setup.py $(wildcard src/pyccf/*/_build.py src/pyccf/*/*/_build.py src/pyccf/*/native/* src/pyccf/*/*/native/*) $(HOT)
	@[ -x $(BIN)/pip ] || { python="$(or $(PYTHON),$$(tools/choose-python $(PYTHONS)))" && $$python -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-tools.txt
	@touch $@

install: $(STAMP)  ## create the virtual environment and install pyccf into it

sandbox: $(STAMP)  ## start a service of three nodes with the sample app; Ctrl-C stops it
	@$(BIN)/pyccf sandbox --nodes 3 $(ARGS)

test: $(STAMP)     ## run the tests
	$(BIN)/python -m pytest $(ARGS)

sim: $(STAMP)      ## explore simulated networks: SEEDS=... STEPS=... SEED=...
	$(BIN)/python -m pyccf.sim run --seeds $(or $(SEEDS),100) --steps $(or $(STEPS),100) $(if $(SEED),--seed $(SEED)) $(ARGS)

check: $(STAMP)    ## style, types and architecture
	$(BIN)/ruff check src tests bench samples clients
	$(BIN)/ruff format --check src tests bench samples clients
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)   ## apply the formatter
	$(BIN)/ruff check --fix src tests bench samples clients
	$(BIN)/ruff format src tests bench samples clients

bench: $(STAMP)    ## measure; writes bench/results/*.json
	$(BIN)/python -m bench $(ARGS)

bench-network: $(STAMP)  ## measure a network of four nodes; writes bench/results/network-*.json
	$(BIN)/python -m bench.network $(ARGS)

soak-network: $(STAMP)  ## kill the primary 50 times under load; takes a few minutes
	PYCCF_SOAK=1 $(BIN)/python -m pytest -s tests/e2e/test_faults_soak.py $(ARGS)

drill: $(STAMP)    ## 20 disasters with real processes, 1,000 simulated ones; takes half an hour
	PYCCF_DRILLS=$(or $(DRILLS),20) $(BIN)/python -m pytest tests/e2e/test_drill.py $(ARGS)
	$(BIN)/python -m pyccf.sim drill --seeds $(or $(SEEDS),1000)

fuzz: $(STAMP)     ## CASES=17000 damaged and forged messages between nodes for each property
	PYCCF_FUZZ_CASES=$(or $(CASES),17000) $(BIN)/python -m pytest tests/property/test_peer_frames.py tests/property/test_join.py $(ARGS)

fuzz-bytes: $(STAMP)  ## MINUTES=10 of hostile bytes for each way in, ONLY=names; follows coverage if atheris is installed
	PYTHONPATH=tests:. $(BIN)/python -m fuzz --seconds $$((60 * $(or $(MINUTES),10))) $(ONLY)

bitrot: $(STAMP)   ## flip every byte of a small ledger, damage a larger one 10,000 times, change 100,000 bits of receipts
	PYCCF_ROT=1 $(BIN)/python -m pytest -s tests/property/test_rot.py $(ARGS)

replay: $(STAMP)   ## RECORDINGS=directory: replay what was recorded from the original, print what is equal
	cd tests && PYTHONPATH=. ../$(BIN)/python -m replay $(abspath $(RECORDINGS)) $(ARGS)

conform: $(STAMP)  ## REQUESTS=20000 requests made up from the OpenAPI documents of a live node
	cd tests && PYTHONPATH=. ../$(BIN)/python -m support.schema_driven --requests $(or $(REQUESTS),20000) $(ARGS)

# The engine is built from its source too: with the wheel, freed memory could not be told from used.
SANITIZED  := build/sanitize
SANITIZERS := -fsanitize=address,undefined -fno-omit-frame-pointer -g

sanitize-js: $(STAMP)  ## run the tests of what is in C (JavaScript, sealing, sending) under the compiler's sanitizers; takes about five minutes
	rm -rf $(SANITIZED) && mkdir -p $(SANITIZED) && cp -R src setup.py pyproject.toml README.md LICENSE $(SANITIZED)
	rm -f $(SANITIZED)/src/pyccf/*/_*.so $(SANITIZED)/src/pyccf/apps/js/*.so $(SANITIZED)/src/pyccf/apps/js/*.o
	CFLAGS="$(SANITIZERS) -O1" LDFLAGS="$(SANITIZERS)" $(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--no-cache-dir --no-deps --no-binary quickjs-ng --constraint requirements.lock --target $(SANITIZED)/engine quickjs-ng
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(SANITIZED)/tools 'setuptools>=77,<90'
	cd $(SANITIZED) && PYCCF_PURE=1 PYTHONPATH=tools CFLAGS="$(SANITIZERS) -fno-sanitize-recover=all" LDFLAGS="$(SANITIZERS)" \
		$(abspath $(BIN))/python setup.py -q build_ext --inplace
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so)" PYTHONMALLOC=malloc PYTHONPATH=$(SANITIZED)/src:$(SANITIZED)/engine \
		ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
		$(BIN)/python -m pytest -s tests/unit/shell/test_sender.py tests/unit/apps_js tests/property/test_js_calls.py \
		tests/unit/ledger/test_sealing.py tests/unit/crypto/test_hashing.py tests/unit/ledger/test_follow.py tests/unit/ledger/test_history.py $(ARGS)

clean:           ## remove what the other targets made
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis
