"""A kernel that is killed in the middle of training, and the JupyterLab that `make lab` starts."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from killing import ended
from tiny import CHANGES

from vocalsynth_utils import audio, runs, synthetic

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parent.parent
CELL = """
from pathlib import Path
from vocalsynth_utils import dataset, recipes, training
recipe = recipes.get("2016-small").replace(**{changes!r})
data = dataset.prepare("ar2.wav", recipe, "data")
rows = list(training.train(recipe, data, {run!r}, resume={resume}))
"""
TRAIN_ON = "Path({run!r}, 'recipe.json').exists()"
N_EPOCHS = 40


def run_cell(client, code):
    """Run code in a kernel to its end; the text of what it raised, or None."""
    reply = client.execute_interactive(code, timeout=120, output_hook=lambda message: None)["content"]
    return None if reply["status"] == "ok" else f"{reply['ename']}: {reply['evalue']}"


@pytest.fixture
def kernel(tmp_path):
    """`kernel()` starts a new one in a folder with a recording."""
    from jupyter_client.manager import start_new_kernel

    audio.write(tmp_path / "ar2.wav", synthetic.ar2(20000, seed=1), 16000)
    started = []

    def start():
        environment = dict(os.environ, PYTHONPATH=str(ROOT))
        started.append(start_new_kernel(cwd=str(tmp_path), env=environment, kernel_name="python3"))
        return started[-1]

    yield start
    for manager, client in started:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_a_kernel_killed_in_mid_training_and_run_again_trains_on_to_the_same_end(kernel, tmp_path):
    changes = {**CHANGES, "n_epochs": N_EPOCHS}
    cell = lambda run: CELL.format(run=run, changes=changes, resume=TRAIN_ON.format(run=run))
    manager, client = kernel()
    client.execute(cell("run"))
    deadline = time.monotonic() + 100
    while len(runs.Run(tmp_path / "run", None, None).log()) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    manager.signal_kernel(signal.SIGKILL)
    kept = len(runs.Run(tmp_path / "run", None, None).log())
    assert kept < N_EPOCHS
    manager, client = kernel()
    # the cell as it was, without a word about resuming
    refused = run_cell(client, CELL.format(run="run", changes=changes, resume=False))
    assert re.fullmatch(rf"ValueError: run holds a run of {kept} epochs; go on with it by .*resume=True.*", refused)
    assert run_cell(client, cell("run")) is None
    assert run_cell(client, cell("whole")) is None
    assert ended(tmp_path / "run") == ended(tmp_path / "whole")
    assert [row["epoch"] for row in runs.open_run(tmp_path / "run").log()] == list(range(1, N_EPOCHS + 1))


def wait_for(port):
    """Until something answers on a port of this machine: a server names its address a moment before."""
    deadline = time.monotonic() + 60
    while True:
        with socket.socket() as caller:
            if caller.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline
        time.sleep(0.1)


def listening(pid):
    """Addresses and ports that a process listens on, as /proc tells."""
    inodes = set()
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.update(re.findall(r"socket:\[(\d+)\]", os.readlink(handle)))
        except OSError:
            pass
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == "0A" and rest[5] in inodes:
                address, port = local.split(":")
                found.append((address, int(port, 16)))
    return found


@pytest.mark.skipif(
    not shutil.which("make") or not Path("/proc/self/net/tcp").exists(),
    reason="needs make, and Linux to see who listens",
)
def test_make_lab_serves_on_loopback_alone_and_to_those_who_have_the_token(tmp_path):
    said = subprocess.run(
        ["make", "--no-print-directory", "-n", "lab", f"VENV={sys.prefix}", "LAB_FLAGS=--no-browser --allow-root"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    command = said.stdout.strip().splitlines()[-1]
    assert "/jupyter lab" in command
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = {
        name: str(tmp_path / name)
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    }
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JUPYTER")}
    server = subprocess.Popen(
        f"exec {command} --ServerApp.port={port} --ServerApp.port_retries=0",
        shell=True,
        cwd=ROOT,
        text=True,
        env=dict(environment, **home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        for line in server.stderr:
            found = re.search(rf"(http://127\.0\.0\.1:{port})/lab\S*\?token=(\w+)", line)
            if found:
                break
        address, token = found.groups()
        wait_for(port)
        assert len(token) >= 32
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"{address}/api/contents", timeout=30)
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"{address}/api/contents?token={'0' * len(token)}", timeout=30)
        with urllib.request.urlopen(f"{address}/api/contents?token={token}", timeout=30) as answer:
            assert b'"notebooks"' in answer.read()
        assert listening(server.pid) == [("0100007F", port)]
    finally:
        server.terminate()
        server.communicate(timeout=60)
