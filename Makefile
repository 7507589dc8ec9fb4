# make        set up, run every notebook on the built-in voice, results under build/
# make test   set up, run the tests and the notebooks' own check
# make lab    open the notebooks in JupyterLab
# LAB_FLAGS=... is passed on to it, e.g. --no-browser.
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

NOTEBOOKS := $(sort $(wildcard notebooks/[0-9]*.ipynb))
EXECUTED  := $(NOTEBOOKS:notebooks/%.ipynb=build/%.html)

.PHONY: all test lab setup clean
all: $(EXECUTED)
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

$(READY): requirements.lock pyproject.toml
	@eval "$$FIND_PYTHON"; set -e; \
	echo "[set-up] $$("$$found" --version) in $(VENV), packages from requirements.lock (about a minute)"; \
	rm -rf $(VENV); "$$found" -m venv $(VENV); mkdir -p $(VENV)/cache; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	touch $@

data/voice.wav: | $(READY)
	@echo "[voice] making the built-in voice, 5 minutes of it"
	@$(BIN)/python -m vocalsynth_utils voice $@ --seconds 300 --seed 0

build/%.html: notebooks/%.ipynb $(READY) $(wildcard vocalsynth_utils/*.py vocalsynth_utils/c_code/*) | data/voice.wav
	@mkdir -p build/audio
	@echo "[notebook $$(echo $(NOTEBOOKS) | tr ' ' '\n' | grep -n $* | cut -d: -f1) of $(words $(NOTEBOOKS))] $* ..."; start=$$SECONDS; \
	$(BIN)/jupyter nbconvert --log-level WARN --to notebook --execute --ExecutePreprocessor.timeout=900 --output-dir build $< && \
	$(BIN)/jupyter nbconvert --log-level WARN --to html --output-dir build build/$*.ipynb && \
	echo "    done in $$((SECONDS - start)) s: build/$*.html"

test: $(READY) | data/voice.wav
	@mkdir -p build/audio
	MPLBACKEND=agg $(BIN)/python -m pytest -q --durations=10 tests
	$(BIN)/python -m pytest -q --nbval notebooks

lab: $(READY) | data/voice.wav
	$(BIN)/jupyter lab --ip=127.0.0.1 --notebook-dir=. $(LAB_FLAGS)

clean:
	rm -rf build
