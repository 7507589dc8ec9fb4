# make            set up, run every notebook on the built-in voice, results under build/
# make lab        open the notebooks in JupyterLab
# make check      lint and the fast tests: a minute
# make test       all tests but the long ones, and the lessons' own check
# make test-long  builds from nothing, kills by the dozen, the solutions: what takes long and guards what rarely changes
# LAB_FLAGS=... is passed on to JupyterLab, e.g. --no-browser.
# PYTHON=/path/to/python chooses the interpreter (3.9, 3.10 or 3.11).

SHELL := /bin/bash
VENV  := .venv
READY := $(VENV)/.ready
BIN   := $(VENV)/bin

# Everything the tools write or read beside the project stays inside the environment.
export PYTHONNOUSERSITE := 1
export PYTHONPATH :=
export IPYTHONDIR := $(abspath $(VENV))/cache/ipython
export JUPYTER_CONFIG_DIR := $(abspath $(VENV))/cache/jupyter
export JUPYTER_DATA_DIR := $(abspath $(VENV))/cache/jupyter-data
export JUPYTER_PREFER_ENV_PATH := 1
export MPLCONFIGDIR := $(abspath $(VENV))/cache/matplotlib

# Two of whatever runs side by side, where there are two cores, with a thread each.
WORKERS   := $(shell n=$$(OMP_NUM_THREADS= nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1); echo $$((n < 2 ? n : 2)))
PYTEST    := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile
# The tests do without the plugins that take seconds to load, and so without the options for one of them.
TESTS     := MPLBACKEND=agg $(PYTEST) -p no:nbval -p no:hypothesispytest -o addopts="-rsx --strict-markers" tests
LINTED    := vocalsynth_utils tests data notebooks docs

.PHONY: all setup check test test-long lab clean
all: $(READY) | data/voice.wav
	@$(BIN)/python notebooks/run.py
	@echo
	@echo "Done. Open build/*.html in a browser to read and listen; the generated audio is in build/audio/:"
	@ls build/audio/*.wav 2>/dev/null | sed 's/^/  /' || true
	@echo "To run the notebooks yourself: make lab"

setup: $(READY)

# A Python that Theano runs on and that can make an environment: on the PATH, in pyenv, in conda.
define FIND_PYTHON
fits() { "$$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 11))' >/dev/null 2>&1; }
shopt -s nullglob
if [ -n "$(PYTHON)" ]; then candidates=("$(PYTHON)")
else candidates=(python3.11 python3.10 python3.9 python3 python \
  "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.{11,10,9}*/bin/python \
  "$${CONDA_PREFIX:-/nonexistent}"/bin/python "$$HOME"/{miniforge3,mambaforge,miniconda3,anaconda3}{,/envs/*}/bin/python \
  /opt/{conda,homebrew}{,/envs/*}/bin/python3 /usr/local/bin/python3.{11,10,9})
fi
found=
for candidate in "$${candidates[@]}"; do if fits "$$candidate"; then found=$$candidate; break; fi; done
if [ -z "$$found" ]; then
  if [ -n "$(PYTHON)" ]; then echo "PYTHON=$(PYTHON) is not a working Python 3.9, 3.10 or 3.11 with venv; name another one, or leave PYTHON out" >&2
  else echo "No Python 3.9, 3.10 or 3.11 with venv found (Theano needs one of these); install one, e.g. 'pyenv install 3.11' or 'apt install python3.11-venv', or name it: make PYTHON=/path/to/python" >&2; fi
  exit 2
fi
if ! command -v "$${CXX:-c++}" >/dev/null && ! command -v g++ >/dev/null && ! command -v clang++ >/dev/null; then
  echo "No C++ compiler found; install one, e.g. 'apt install g++' or 'xcode-select --install'" >&2
  exit 2
fi
endef
export FIND_PYTHON

# uv, by its hash in the lock, gets the rest by theirs, from where pip is told to look; what is built from source is built with the lock's setuptools.
# Without a terminal its list of packages is left out.  Where uv does not get through, as with settings of pip's that it does not know, pip does it.
define INSTALL_PACKAGES
pip() { $(BIN)/python -m pip "$$@" --disable-pip-version-check; }
awk '/^[^ ]/ {uv = /^uv==/} uv' requirements.lock > $(VENV)/cache/uv.txt
pip install --quiet --require-hashes -r $(VENV)/cache/uv.txt
index=$${PIP_INDEX_URL:-$$(pip config get global.index-url 2>/dev/null || true)}
if [ -n "$$index" ]; then export UV_DEFAULT_INDEX=$${UV_DEFAULT_INDEX:-$$index}; fi
with_uv=($(BIN)/uv pip install --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock)
if [ -t 2 ]; then "$${with_uv[@]}"; else "$${with_uv[@]}" 2>&1 | sed -E '/^ *([+-] |Download|Buil[dt])/d; s/^/[set-up] /'; fi || {
  echo "[set-up] uv did not get through; pip tries, which takes a minute longer"
  pip install --quiet --require-hashes -r requirements.lock
}
endef
export INSTALL_PACKAGES

$(READY): requirements.lock pyproject.toml
	@eval "$$FIND_PYTHON"; set -eo pipefail; start=$$SECONDS; \
	echo "[set-up] $$("$$found" --version) in $(VENV), packages from requirements.lock"; \
	rm -rf $(VENV); "$$found" -m venv $(VENV); mkdir -p $(VENV)/cache; \
	eval "$$INSTALL_PACKAGES"; \
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .; \
	echo "[set-up] done in $$((SECONDS - start)) s"; touch $@

data/voice.wav: | $(READY)
	@echo "[voice] making the built-in voice, 5 minutes of it"
	@$(BIN)/python -m vocalsynth_utils voice $@ --seconds 300 --seed 0

check: $(READY) | data/voice.wav
	@$(BIN)/ruff check --quiet $(LINTED) && $(BIN)/ruff format --quiet --check $(LINTED)
	$(TESTS) -m "not slow and not long"

test: $(READY) | data/voice.wav
	$(TESTS) -m "not long" --durations=10
	@mkdir -p build/audio
	$(PYTEST) --nbval notebooks --ignore notebooks/solutions

test-long: $(READY) | data/voice.wav
	$(TESTS) -m long --durations=10
	$(PYTEST) --nbval notebooks/solutions

lab: $(READY) | data/voice.wav
	$(BIN)/jupyter lab --ip=127.0.0.1 --notebook-dir=. $(LAB_FLAGS)

clean:
	rm -rf build
