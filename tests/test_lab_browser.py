"""JupyterLab in a real browser, as `make lab` starts it: players play, notebooks run, sliders and buttons act."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
from browser import Browser
from test_pages import PLAYERS

pytestmark = pytest.mark.long
ROOT = Path(__file__).resolve().parent.parent
LESSONS = [p for n in ("01", "04", "08") for p in sorted((ROOT / "notebooks").glob(f"{n}_*.ipynb"))]
PANEL = "[...window.jupyterapp.shell.widgets('main')].find(widget => widget.context)"
READY = f"""Boolean(window.jupyterapp && window.jupyterapp.shell && {PANEL} && {PANEL}.context.isReady
  && {PANEL}.sessionContext.session && {PANEL}.sessionContext.session.kernel.status === "idle")"""
RUN = f"""window.ran = null;
window.jupyterapp.shell.activateById({PANEL}.id);
void window.jupyterapp.commands.execute("notebook:run-all-cells").then(() => {{ window.ran = "done"; }});"""
ERRORS = f"""{PANEL}.content.widgets.flatMap(c => c.model.type === "code" ? c.model.outputs.toJSON() : [])
  .filter(o => o.output_type === "error").map(o => o.ename + ": " + o.evalue)"""
SHOWN = """[...document.querySelectorAll(".jp-OutputArea .jupyter-widgets")].map(w =>
  [...w.querySelectorAll("img, source")].map(e => e.src).join() + w.innerText).join()"""
ENDLESS = """
import time
from vocalsynth_utils.plots import widgets
def rows(should_stop, on_batch):
    for epoch in range(1, 10000):
        time.sleep(0.05)
        yield {"epoch": epoch, "train_loss": 1 / epoch, "valid_loss": 1 / epoch, "duration": 0.05}
board = widgets.Dashboard(rows, 10000).start()
"""


@pytest.fixture(scope="module")
def folder():
    """A folder beside notebooks/ for copies, so that their paths lead where the originals' do."""
    made = Path(tempfile.mkdtemp(prefix="lab-test-", dir=ROOT))
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def server(folder, tmp_path_factory):
    """Address and token of the JupyterLab that `make lab` starts, with fresh copies."""
    home = tmp_path_factory.mktemp("home")
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JUPYTER")}
    environment |= {name: str(home / name) for name in names} | {
        "PYTHONPATH": str(ROOT),
        "JUPYTER_PREFER_ENV_PATH": "1",
    }
    subprocess.run([sys.executable, "notebooks/lab.py", str(folder)], cwd=ROOT, env=environment, check=True)
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}
    endless = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(ENDLESS)], metadata=kernel)
    nbformat.write(endless, folder / "endless.ipynb")
    settings = home / "JUPYTER_CONFIG_DIR" / "labconfig" / "default_setting_overrides.json"
    every_cell = {"@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"}}  # drawn, wherever one looks
    settings.write_text(json.dumps(json.loads(settings.read_text()) | every_cell))
    command = ["make", "--no-print-directory", "-n", "lab", f"VENV={sys.prefix}", "LAB_FLAGS=--no-browser --allow-root"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = f"exec {said.strip().splitlines()[-1]} --ServerApp.port={port} --LabApp.expose_app_in_browser=True"
    log = home / "log.txt"
    with open(log, "w") as out:
        process = subprocess.Popen(command, shell=True, cwd=ROOT, env=environment, stderr=out)
    address = re.compile(rf"(http://127\.0\.0\.1:{port})(\S*)\?token=(\w+)")
    found = Browser.until(lambda: address.search(log.read_text()), 120)
    yield found[1], found[2], found[3]
    process.terminate()
    process.wait(60)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    started = Browser(tmp_path_factory.mktemp("chromium"))
    yield started
    started.close()


def opened(browser, server, path):
    """A notebook open in JupyterLab, its kernel waiting."""
    browser.open(f"{server[0]}/lab/tree/{path.parent.name}/{path.name}?token={server[2]}&reset")
    browser.until(lambda: browser.js(READY) and browser.js(f"{PANEL}.context.path").endswith(path.name), 120)


def run(browser, seconds):
    browser.js(RUN)
    browser.until(lambda: browser.js("window.ran"), seconds)
    assert browser.js(ERRORS) == []


def test_make_lab_opens_at_the_first_notebook(server):
    assert server[1] == "/lab/tree/lab/01_preprocessing.ipynb"


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_notebook_plays_when_opened_and_runs_and_its_slider_acts(browser, server, folder, lesson):
    opened(browser, server, folder / lesson.name)
    cells = nbformat.read(lesson, as_version=4).cells
    stored = [o.get("data", {}).get("text/html", "") for cell in cells for o in cell.get("outputs", ())]
    n_players = sum(html.count("<audio") for html in stored)
    browser.until(lambda: len(browser.js(PLAYERS)) >= n_players, 60)
    assert all(duration for _, duration in browser.js(PLAYERS))
    run(browser, 400)
    assert all(duration for _, duration in browser.js(PLAYERS))
    if browser.js("Boolean(document.querySelector('.jp-OutputArea .noUi-handle'))"):
        before = browser.js(SHOWN)
        browser.js("document.querySelector('.jp-OutputArea .noUi-handle').focus()")
        browser.key("ArrowRight")
        browser.until(lambda: browser.js(SHOWN) != before, 60)
    assert browser.js("document.querySelectorAll('.Toastify__toast').length") == 0


def test_stop_stops_a_training(browser, server, folder):
    opened(browser, server, folder / "endless.ipynb")
    run(browser, 60)
    browser.until(lambda: "epoch 1" in browser.js(SHOWN), 60)
    browser.js("[...document.querySelectorAll('.jupyter-button')].find(b => b.innerText.includes('Stop')).click()")
    browser.until(lambda: "stopped after" in browser.js(SHOWN), 30)
