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


def wanted(text):
    """Names and pinned versions, or "", of the packages asked for one on a line."""
    return {
        name.lower(): version for name, version in re.findall(r'^[\s"]*([A-Za-z][\w.-]*)(?:==([\w.]+))?', text, re.M)
    }


def asked_for():
    """What requirements.in asks for."""
    return wanted((ROOT / "requirements.in").read_text())


def section(heading):
    """One list of pyproject.toml, as text."""
    return (ROOT / "pyproject.toml").read_text().split(heading)[1].split("\n]")[0].split("\n\n")[0]


def test_every_package_of_the_lock_has_hashes_and_no_address():
    blocks = re.split(r"\n(?=[A-Za-z0-9])", LOCK.strip())
    assert len(blocks) > 50
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in LOCK and "--index-url" not in LOCK and "--find-links" not in LOCK


def test_the_lock_names_no_path_of_the_machine_that_made_it():
    comments = [line for line in LOCK.splitlines() if "#" in line]
    assert comments and not [line for line in comments if "/" in line or "\\" in line]


def test_the_lock_holds_what_its_input_asks_for():
    assert len(asked_for()) > 15
    for name, version in asked_for().items():
        assert name in LOCKED and (not version or LOCKED[name] == {version}), name
    assert "-o requirements.lock" in (ROOT / "requirements.in").read_text()  # the command that makes it


def test_conda_users_get_the_locks_versions():
    pinned = re.findall(r"- ([A-Za-z0-9_.-]+)==(\S+)", (ROOT / "environment.yml").read_text())
    assert len(pinned) > 10
    for name, version in pinned:
        assert version in LOCKED[name.lower()], name
    assert set(asked_for()) - {"uv"} <= {name.lower() for name, _ in pinned}


def test_every_dependency_of_the_package_is_in_the_lock():
    needed = wanted(section("\ndependencies = [\n"))
    assert len(needed) > 10 and {"psutil", "distributed"} <= set(needed)
    for name, version in needed.items():
        assert asked_for()[name] == version or not version, name
    extras = re.findall(r'"([A-Za-z0-9_.-]+)"', section("[project.optional-dependencies]"))
    assert "pytest" in extras and "ruff" in extras and set(extras) <= set(asked_for())


def test_what_every_change_must_pass_includes_the_long_tests():
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    assert "make test" in script and "make test-long" in script


def test_the_readme_can_be_read_in_one_sitting():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_every_link_of_the_readme_and_of_docs_leads_somewhere():
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
        missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
        assert not missing, f"{page.name}: {missing}"


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_a_python_that_does_not_fit_is_one_clear_line(tmp_path):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    done = subprocess.run(["make", "setup", "PYTHON=/no/such/python"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(said) == 1 and "PYTHON=/no/such/python" in said[0] and "3.9, 3.10 or 3.11" in said[0]
    assert not (tmp_path / ".venv").exists()


def test_what_set_up_takes_from_the_lock_first_is_uv_by_its_hashes():
    program = re.search(r"awk '(.*)' requirements.lock", (ROOT / "Makefile").read_text())[1]
    done = subprocess.run(["awk", program, "requirements.lock"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.findall(r"^[^ #].*?==", done.stdout, re.M) == ["uv=="] and "--hash=sha256:" in done.stdout
