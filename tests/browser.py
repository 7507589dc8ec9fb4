"""Chromium without a window, by its DevTools protocol, with every host but this machine out of reach."""

import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --autoplay-policy=no-user-gesture-required --remote-debugging-port=0 "
    "--remote-allow-origins=* --window-size=1100,2000 --host-resolver-rules=MAP\t*\t~NOTFOUND\t,\tEXCLUDE\t127.0.0.1"
)


class Browser:
    """One page; `asked` holds every address it asked for."""

    def __init__(self, folder):
        import websocket  # Jupyter's server brings it

        program = next(filter(None, map(shutil.which, PROGRAMS)), None)
        if program is None:
            pytest.skip(f"no Chromium here ({', '.join(PROGRAMS)}): pages and JupyterLab were not looked at")
        flags = [flag.replace("\t", " ") for flag in FLAGS.split(" ")]
        command = [program, *flags, f"--user-data-dir={folder}", "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        told = Path(folder) / "DevToolsActivePort"
        self.until(lambda: told.exists() and told.read_text().count("\n"), 60)
        port = told.read_text().split()[0]
        targets = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30))
        address = next(target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page")
        self.socket, self.n_calls, self.asked = websocket.create_connection(address, timeout=120), 0, []
        for domain in ("Page", "Network", "Runtime"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)

    def call(self, method, **params):
        """What a method of the protocol returns; requests seen meanwhile are noted."""
        self.n_calls += 1
        self.socket.send(json.dumps({"id": self.n_calls, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("method") == "Network.requestWillBeSent":
                self.asked.append(message["params"]["request"]["url"])
            if message.get("method") == "Page.javascriptDialogOpening":  # leaving what is not saved
                leave = {"id": 0, "method": "Page.handleJavaScriptDialog", "params": {"accept": True}}
                self.socket.send(json.dumps(leave))
            if message.get("id") == self.n_calls:
                assert "error" not in message, message
                return message["result"]

    def js(self, code):
        """The value of an expression, awaited, in the page."""
        result = self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def open(self, address, width=1100):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=2000, deviceScaleFactor=1, mobile=False)
        self.asked.clear()
        self.call("Page.navigate", url=address)
        self.until(lambda: self.js("location.href != 'about:blank' && document.readyState") == "complete", 60)

    def key(self, key):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=39)

    @staticmethod
    def until(true, seconds):
        deadline = time.monotonic() + seconds
        while not (value := true()):
            assert time.monotonic() < deadline, "waited too long"
            time.sleep(0.1)
        return value

    def close(self):
        self.process.terminate()
        self.process.wait(30)
