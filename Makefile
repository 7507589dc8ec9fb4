# make            set up, sing, run every notebook on the built-in voice, results under build/
# make hear       ten seconds from the voice that ships: another song each time
# make help       this list
# make lab        open copies of the notebooks in JupyterLab, in lab/: yours to change, never overwritten
# make student    a copy to hand out, without outputs and solutions, in build/student
# make check      lint and the fast tests: a minute
# make test       all tests but the long ones, and the lessons' own check
# make test-long  builds from nothing, kills by the dozen, the solutions: what takes long and guards what rarely changes
# make test-torch  the tests of the engine by PyTorch, in an environment with its build for CPUs, build/torch
# make test-all   make test on every Python found here
# LAB_FLAGS=... is passed on to JupyterLab, e.g. --no-browser.
# PYTHON=/path/to/python chooses the interpreter, 3.11 to 3.14; COMPILER=zig takes a C++ compiler from the package index.
# EARS=1 adds what `vocalsynth evaluate --ears` needs, 520 MB; on Python 3.14 pocketsphinx has no wheel and is compiled.

SHELL := /bin/bash
VENV  := .venv
READY := $(VENV)/.ready
BIN   := $(VENV)/bin
PLACE := $(if $(filter /%,$(firstword $(VENV))),$(VENV),$(CURDIR)/$(VENV))
ZIG   := $(if $(filter zig,$(COMPILER)),$(VENV)/.zig)
EARS_READY := $(if $(EARS),$(VENV)/.ears)

# Everything the tools write or read beside the project stays inside the environment.
export PYTHONNOUSERSITE := 1
export MADE := $(PLACE) for $(CURDIR)
export PYTHONPATH :=
export IPYTHONDIR := $(PLACE)/cache/ipython
export JUPYTER_CONFIG_DIR := $(PLACE)/cache/jupyter
export JUPYTER_DATA_DIR := $(PLACE)/cache/jupyter-data
export JUPYTER_PREFER_ENV_PATH := 1
export MPLCONFIGDIR := $(PLACE)/cache/matplotlib

# Two of whatever runs side by side, where there are two cores, with a thread each.
WORKERS   := $(shell n=$$(OMP_NUM_THREADS= nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1); echo $$((n < 2 ? n : 2)))
PYTEST    := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile
# The tests do without the plugins that take seconds to load, and so without the options for one of them.
TESTS     := MPLBACKEND=agg $(PYTEST) -p no:nbval -p no:hypothesispytest -o addopts="-rsx --strict-markers" tests
LINTED    := setup.py vocalsynth_utils tests data notebooks docs

.PHONY: all hear help setup check test test-long test-torch test-all lab student clean
all: $(READY) $(ZIG) $(EARS_READY) | build/audio/hello.wav data/voice.wav
	@$(BIN)/python notebooks/run.py
	@echo
	@echo "Done. Open build/index.html in a browser to read and listen; the generated audio is in build/audio/:"
	@ls build/audio/*.wav 2>/dev/null | sed 's/^/  /' || true
	@echo "To run the notebooks yourself: make lab"

setup: $(READY) $(ZIG) $(EARS_READY)

help:
	@sed -n '/^# /!q; s/^# //p' Makefile

# The voice that ships sings as soon as it can, before anything else runs.
build/audio/hello.wav: | $(READY) $(ZIG)
	@mkdir -p $(@D); $(BIN)/python -m vocalsynth_utils generate world-units $@ --seed $(SEED)
	@echo "[voice] the first sound is there to be heard: $@"
SEED := 0

hear: SEED = $(shell date +%s)
hear: $(READY) $(ZIG)
	@rm -f build/audio/hello.wav; $(MAKE) --no-print-directory SEED=$(SEED) build/audio/hello.wav

# A Python that can make an environment, the newest first: on the PATH, in pyenv, in conda.
define FIND_PYTHON
fits() { "$$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' >/dev/null 2>&1; }
shopt -s nullglob
if [ -n "$(PYTHON)" ]; then candidates=("$(PYTHON)")
else
  candidates=()
  for version in 3.{14,13,12,11}; do
    candidates+=(python$$version "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$$version.*/bin/python /usr/local/bin/python$$version)
  done
  candidates+=(python3 python "$${CONDA_PREFIX:-/nonexistent}"/bin/python \
    "$$HOME"/{miniforge3,mambaforge,miniconda3,anaconda3}{,/envs/*}/bin/python /opt/{conda,homebrew}{,/envs/*}/bin/python3)
fi
found=
for candidate in "$${candidates[@]}"; do if fits "$$candidate"; then found=$$candidate; break; fi; done
if [ -z "$$found" ]; then
  if [ -n "$(PYTHON)" ]; then echo "PYTHON=$(PYTHON) is not a working Python 3.11 to 3.14 with venv; name another one, or leave PYTHON out" >&2
  else echo "No Python 3.11 to 3.14 with venv found; install one, e.g. 'apt install python3-venv' or 'pyenv install 3.13', or name it: make PYTHON=/path/to/python" >&2; fi
  exit 2
fi
if [ "$(COMPILER)" != zig ] && ! command -v "$${CXX:-c++}" >/dev/null && ! command -v g++ >/dev/null && ! command -v clang++ >/dev/null; then
  echo "No C++ compiler found; install one, e.g. 'apt install g++' or 'xcode-select --install', or take one from the package index (411 MB): make COMPILER=zig" >&2
  exit 2
fi
endef
export FIND_PYTHON

# uv, by its hash in the lock, gets the rest by theirs, from where pip is told to look.  Without a terminal its list of packages is left out.
# Without a network both come from what uv kept of an earlier set-up; itself among it, so uv, which pip brought, takes itself again.  Where
# uv does not get through, as with settings of pip's that it does not know, pip does it.  Theano and Lasagne are built with the lock's
# setuptools, with what setup.py puts back for them.  Paths inside the environment are relative, so that a copy of it runs the code beside
# the copy.
define INSTALL_PACKAGES
pip() { $(BIN)/python -m pip "$$@" --disable-pip-version-check --quiet --retries 2 2>$(VENV)/cache/pip.txt; }
give_up() {
  echo "[set-up] the packages did not come: $$(grep -i error $(VENV)/cache/pip.txt | tail -1); with a network, type the same again" >&2
  exit 2
}
entry() { awk -v name="$$1==" '/^[^ ]/ {wanted = index($$0, name) == 1} wanted' requirements.lock; }
entry uv > $(VENV)/cache/uv.txt
entry setuptools > $(VENV)/cache/setuptools.txt
uv=$(BIN)/uv
if ! pip install --require-hashes -r $(VENV)/cache/uv.txt; then
  version=$$(sed -nE 's/^uv==([0-9.]+).*/\1/p' requirements.lock)
  kept=("$${UV_CACHE_DIR:-$${XDG_CACHE_HOME:-$$HOME/.cache}/uv}"/archive-v0/*/uv-$$version.data/scripts/uv)
  uv=$${kept[0]}
  [ -x "$$uv" ] || give_up
  echo "[set-up] no network; from what an earlier set-up kept"
  export UV_OFFLINE=1
fi
index=$${PIP_INDEX_URL:-$$(pip config get global.index-url || true)}
if [ -n "$$index" ]; then export UV_DEFAULT_INDEX=$${UV_DEFAULT_INDEX:-$$index}; fi
"$$uv" venv --quiet --relocatable --allow-existing --no-python-downloads --python $(BIN)/python $(VENV)
site=$$(echo $(VENV)/lib/python3*/site-packages)
$(BIN)/python -c 'import setup; print(setup.PUT_BACK)' > "$$site"/put_back.pth
with_uv() { "$$uv" pip install --python $(BIN)/python --require-hashes --no-build-isolation --reinstall-package uv "$$@"; }
with_uv --quiet -r $(VENV)/cache/setuptools.txt &&
if [ -t 2 ]; then with_uv --compile-bytecode -r requirements.lock
else with_uv --compile-bytecode -r requirements.lock 2>&1 | sed -E '/^ *([-+~] |Download|Buil[dt])/d; s/^/[set-up] /'; fi || {
  echo "[set-up] uv did not get through; pip tries, which takes a minute longer"
  pip install --require-hashes -r $(VENV)/cache/setuptools.txt && pip install --require-hashes --no-build-isolation -r requirements.lock || give_up
}
rm "$$site"/put_back.pth
$(BIN)/uv pip install --quiet --python $(BIN)/python --offline --no-deps --no-build-isolation -e .
rm "$$site"/__editable__*vocalsynth*
$(BIN)/python -c 'import os, sys; print(os.path.relpath(".", sys.argv[1]))' "$$site" > "$$site"/vocalsynth_utils.pth
endef
export INSTALL_PACKAGES

# An environment is of one place: a copied or moved one is made anew, and so is one whose Python has gone.
MADE_FOR := $(shell $(BIN)/python -c '' 2>/dev/null && cat $(READY))
ifneq ($(MADE_FOR),$(MADE))
.PHONY: $(READY)
endif

$(READY): requirements.lock pyproject.toml setup.py
	@eval "$$FIND_PYTHON"; set -eo pipefail; start=$$SECONDS; \
	if [ -e $@ ]; then echo "[set-up] $(VENV) was made for other packages or another place; it is made anew"; fi; \
	echo "[set-up] $$("$$found" --version) in $(VENV), packages from requirements.lock"; \
	rm -rf $(VENV); "$$found" -m venv $(VENV); mkdir -p $(VENV)/cache; \
	eval "$$INSTALL_PACKAGES"; \
	echo "[set-up] done in $$((SECONDS - start)) s"; echo "$$MADE" > $@

$(VENV)/.zig: requirements-zig.lock $(READY)
	@echo "[set-up] a C++ compiler from the package index, 411 MB"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r $<; touch $@

$(VENV)/.ears: requirements-ears.lock $(READY)
	@echo "[set-up] ears that others made, 520 MB"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r $< && touch $@

data/voice.wav: | $(READY) $(ZIG) $(EARS_READY)
	@echo "[voice] making the built-in voice, 5 minutes of it"
	@$(BIN)/python -m vocalsynth_utils voice $@ --seconds 300 --seed 0

check: $(READY) $(ZIG) $(EARS_READY) | data/voice.wav
	@$(BIN)/ruff check --quiet $(LINTED) && $(BIN)/ruff format --quiet --check $(LINTED)
	$(TESTS) -m "not slow and not long"

test: $(READY) $(ZIG) $(EARS_READY) | data/voice.wav
	$(TESTS) -m "not long" --durations=10
	@mkdir -p build/audio
	$(PYTEST) --nbval notebooks --ignore notebooks/solutions

test-long: $(READY) $(ZIG) $(EARS_READY) | data/voice.wav
	$(TESTS) -m long --durations=10
	$(PYTEST) --nbval notebooks/solutions

# The newest Python for which there is a build for CPUs, from where pip is told to look or from PyTorch's own index, which uv knows.
define GET_TORCH
torch=$$(sed -nE 's/^(torch==[0-9.]+).*/\1/p' requirements-gpu.in) triton=$$(sed -nE 's/^(triton==[0-9.]+).*/\1/p' requirements-gpu.in)
by_pip() { $(BIN)/python -m pip download --quiet --no-deps --only-binary :all: --python-version $$1 -d build/torch-wheels $$torch+cpu 2>/dev/null; }
by_uv() { $(BIN)/uv pip compile --quiet --torch-backend cpu --python-version $$1 -o build/torch-known.txt - <<< $$torch 2>/dev/null; }
for version in 3.{14,13,12,11}; do
  for candidate in python$$version "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$$version.*/bin/python; do
    fits "$$candidate" || continue
    if by_pip $$version; then get() { build/torch/bin/python -m pip install -qq --find-links build/torch-wheels $$torch+cpu; }
    elif by_uv $$version; then get() { build/torch/bin/uv pip install --quiet --python build/torch/bin/python --torch-backend cpu $$torch; }
    else break; fi
    $(MAKE) --no-print-directory setup VENV=build/torch PYTHON="$$candidate" && get && echo $$version > build/torch/.torch || exit 1
    build/torch/bin/python -m pip install -qq $$triton || echo "[test-torch] no Triton here: its kernels are not tested"
    exit
  done
done
echo "[test-torch] no build of $$torch for CPUs is to be had here: its tests are NOT run" >&2
exit 3
endef
export GET_TORCH

build/torch/.torch: requirements-gpu.in $(READY)
	@mkdir -p build; eval "$$FIND_PYTHON"; eval "$$GET_TORCH"

test-torch: build/torch/.torch | data/voice.wav
	MPLBACKEND=agg OMP_NUM_THREADS=1 build/torch/bin/python -m pytest -q -n $(WORKERS) -p no:nbval -p no:hypothesispytest \
	  -o addopts="-rsx --strict-markers" tests/test_gpu.py

# Each in an environment of its own; all are run, then the first failure counts.
test-all:
	@eval "$$FIND_PYTHON" && failed=; for version in 3.{14,13,12,11}; do \
	  for candidate in python$$version "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$$version.*/bin/python; do if fits "$$candidate"; then \
	    echo "[test-all] $$version"; $(MAKE) test PYTHON="$$candidate" VENV=build/python-$$version || failed="$$failed $$version"; continue 2; fi; done; \
	  echo "[test-all] $$version: not found, not run"; \
	done; [ -z "$$failed" ] || { echo "[test-all] failed:$$failed" >&2; exit 1; }

lab: $(READY) $(ZIG) $(EARS_READY) | data/voice.wav
	@$(BIN)/python notebooks/lab.py
	$(BIN)/jupyter lab --ip=127.0.0.1 --notebook-dir=. --LabApp.default_url=/lab/tree/lab/01_preprocessing.ipynb $(LAB_FLAGS)

student: $(READY)
	@$(BIN)/python notebooks/student.py

clean:
	rm -rf build
