"""The set-up files agree with each other and name no machine."""
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LOCK = (ROOT / "requirements.lock").read_text()
LOCKED = {}
for name, version in re.findall(r"^([A-Za-z0-9_.-]+)==([^ ;\\]+)", LOCK, re.M):
    LOCKED.setdefault(name.lower(), set()).add(version)


def test_every_package_of_the_lock_has_hashes_and_no_address():
    blocks = re.split(r"\n(?=[A-Za-z0-9])", LOCK.strip())
    assert len(blocks) > 50
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in LOCK and "--index-url" not in LOCK and "--find-links" not in LOCK


def test_conda_users_get_the_locks_versions():
    pinned = re.findall(r"- ([A-Za-z0-9_.-]+)==(\S+)", (ROOT / "environment.yml").read_text())
    assert len(pinned) > 10
    for name, version in pinned:
        assert version in LOCKED[name.lower()], name


def test_every_dependency_of_the_package_is_in_the_lock():
    section = (ROOT / "pyproject.toml").read_text().split("dependencies = [")[1].split("\n]")[0]
    names = re.findall(r'^\s+"([A-Za-z0-9_.-]+)', section, re.M)
    assert len(names) > 10 and all(name.lower() in LOCKED for name in names)
    extras = (ROOT / "pyproject.toml").read_text().split("[project.optional-dependencies]")[1].split("\n\n")[0]
    names = re.findall(r'"([A-Za-z0-9_.-]+)"', extras)
    assert "distributed" in names and all(name.lower() in LOCKED for name in names)


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_a_python_that_does_not_fit_is_one_clear_line(tmp_path):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    done = subprocess.run(["make", "setup", "PYTHON=/no/such/python"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(said) == 1 and "PYTHON=/no/such/python" in said[0] and "3.9, 3.10 or 3.11" in said[0]
    assert not (tmp_path / ".venv").exists()
