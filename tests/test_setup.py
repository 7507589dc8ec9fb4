"""The set-up files agree with each other and name no machine."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import setup as installation  # noqa: E402
from vocalsynth_utils.terminal import SHIPPED  # noqa: E402

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SYSTEMS = ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "aarch64-apple-darwin", "x86_64-apple-darwin")
LOCK = (ROOT / "requirements.lock").read_text()
LOCKED = {}
for name, version in re.findall(r"^([A-Za-z0-9_.-]+)==([^ ;\\]+)", LOCK, re.M):
    LOCKED.setdefault(name.lower(), set()).add(version)


def asked_for():
    """What requirements.in asks for: names and pinned versions, or ""."""
    found = re.findall(r"^([a-z][\w.-]*)(?:==([\w.]+))?", (ROOT / "requirements.in").read_text(), re.M)
    return dict(found)


EARS = ("onnxruntime", "speechmos", "librosa", "requests", "pocketsphinx")


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
    text = (ROOT / "environment.yml").read_text()
    python = re.search(r"- python=(3\.\d+)\n", text)[1]
    assert python in PYTHONS
    pinned = re.findall(r"- ([A-Za-z0-9_.-]+)==(\S+)", text)
    for name, version in pinned:
        (entry,) = [e for e in installation.locked([name]) if f"< '{PYTHONS[1]}'" not in e.splitlines()[0]]
        assert entry.startswith(f"{name}=={version} "), name
    assert {name for name, _ in pinned} >= set(asked_for()) - {"uv", *installation.BUILT_HERE}
    assert text.rstrip().endswith("- -e .")  # which brings the two that are left


def test_the_package_asks_for_what_the_lock_holds_at_its_versions():
    needed = installation.requirements("run time")
    assert {re.split("[ =]", entry)[0] for entry in needed} == set(installation.asked_for("run time"))
    assert "theano==1.0.5" in needed and all(re.match(r"[\w.-]+==\d", entry) for entry in needed)
    assert [entry.split(" ; ")[1] for entry in needed if entry.startswith("numpy==")] == [
        "python_full_version < '3.12'",
        "python_full_version >= '3.12'",
    ]
    assert "pytest==" in "".join(installation.requirements("tests"))
    assert "ruff==" in "".join(installation.requirements("tools"))
    assert {re.split("[ =]", entry)[0] for entry in installation.requirements("ears")} == set(EARS)
    torch, triton = installation.requirements("gpu")
    assert re.fullmatch(r"torch==[\d.]+", torch) and re.fullmatch(r"triton==[\d.]+ ; sys_platform == 'linux'", triton)


def test_the_lock_of_the_ears_agrees_with_the_other_and_has_hashes_and_no_address():
    ears = (ROOT / "requirements-ears.lock").read_text()
    entries, both = re.split(r"\n(?=[A-Za-z0-9])", ears.strip()), re.split(r"\n(?=[A-Za-z0-9])", LOCK.strip())
    first = {entry.splitlines()[0] for entry in both}
    names = {line.split("==")[0] for line in first}
    assert all("--hash=sha256:" in entry for entry in entries) and not re.search(
        r"https?:|file:|/(tmp|home|root)/", ears
    )
    assert all(entry.splitlines()[0] in first for entry in entries if entry.split("==")[0] in names)
    assert set(EARS) <= {entry.split("==")[0] for entry in entries}


def test_what_is_put_back_for_old_sources_reads_a_file_as_they_do(tmp_path):
    (tmp_path / "setup.cfg").write_text("[versioneer]\nstyle = pep440\n")
    code = "p = configparser.SafeConfigParser(); p.readfp(open('setup.cfg')); print(p.get('versioneer', 'style'))"
    command = [sys.executable, "-W", "ignore", "-c", f"{installation.PUT_BACK}\nimport configparser; {code}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "pep440\n", done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_nothing_is_compiled_at_set_up(python, system, tmp_path):
    without = {"x86_64-apple-darwin": {"argon2-cffi-bindings"}}.get(system, set())  # a password's hash, for Jupyter
    built = without | set(installation.BUILT_HERE)
    (tmp_path / "lock").write_text("\n".join(installation.locked(set(LOCKED) - built)))
    asked = [f"--python-platform={system}", f"--python-version={python}", "--no-deps", "--no-build", "--quiet"]
    command = [f"{sys.prefix}/bin/uv", "pip", "compile", "-p", sys.executable, *asked, "-o", os.devnull, "lock"]
    env = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": "14.0"}  # which FFmpeg's wheel asks for
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=env)
    if "error sending request" in done.stderr or "Failed to fetch" in done.stderr:
        pytest.skip("the package index is not reached")
    assert done.returncode == 0, done.stderr
    for name in without:  # and the exceptions are ones still
        (tmp_path / "lock").write_text("\n".join(installation.locked([name])))
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert "no usable wheels" in done.stderr


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


NEEDS_MAKE = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")


def a_checkout(folder):
    """What set-up reads, in an empty folder."""
    for path in (
        *ROOT.glob("requirements*"),
        *(ROOT / name for name in ("Makefile", "pyproject.toml", "setup.py", "README.md")),
    ):
        shutil.copy(path, folder)
    shutil.copytree(ROOT / "vocalsynth_utils", folder / "vocalsynth_utils")
    return folder


def make(folder, *arguments, **environment):
    """A finished `make` in a folder; what it says as lines."""
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "MAKEFLAGS": "", **environment},
    )


@NEEDS_MAKE
def test_make_help_names_what_can_be_made():
    said = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True).stdout
    named = set(re.findall(r"^make ([\w-]+)  ", said, re.M))
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)[1].split()
    assert {*phony} - {"all", "setup", "clean"} == named


@NEEDS_MAKE
def test_a_python_that_does_not_fit_is_one_clear_line(tmp_path):
    done = make(a_checkout(tmp_path), "setup", "PYTHON=/no/such/python")
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(said) == 1 and "PYTHON=/no/such/python" in said[0] and "3.11 to 3.14" in said[0]
    assert not (tmp_path / ".venv").exists()


@NEEDS_MAKE
def test_without_a_compiler_one_line_says_where_one_comes_from(tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("make", "bash", "sh"):
        (tools / name).symlink_to(shutil.which(name))
    done = make(a_checkout(tmp_path), "setup", f"PYTHON={sys.executable}", PATH=str(tools), CXX="")
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert done.returncode == 2 and len(said) == 1 and "make COMPILER=zig" in said[0]
    assert not (tmp_path / ".venv").exists()


@NEEDS_MAKE
def test_an_environment_of_another_place_or_without_its_python_is_made_anew(tmp_path):
    binaries = a_checkout(tmp_path) / ".venv" / "bin"
    binaries.mkdir(parents=True)
    python, ready = binaries / "python", tmp_path / ".venv" / ".ready"
    python.symlink_to(sys.executable)
    anew = lambda: "is made anew" in make(tmp_path, "-n", "setup").stdout
    ready.write_text(f"{tmp_path}/.venv for {tmp_path}\n")
    assert not anew()
    ready.write_text(f"/another/.venv for {tmp_path}\n")
    assert anew()
    ready.write_text(f"{tmp_path}/.venv for {tmp_path}\n")
    python.unlink()
    python.symlink_to("/no/such/python")
    assert anew()


@NEEDS_MAKE
def test_what_set_up_takes_from_the_lock_first_has_its_hashes():
    entry = re.search(r"^entry\(\).*$", (ROOT / "Makefile").read_text(), re.M)[0].replace("$$", "$")
    for name in ("uv", "setuptools"):
        done = subprocess.run(["bash", "-c", f"{entry}\nentry {name}"], cwd=ROOT, capture_output=True, text=True)
        assert re.findall(r"^[^ #].*?==", done.stdout, re.M) == [f"{name}=="] and "--hash=sha256:" in done.stdout


def without_network(command, **options):
    """Run a command where nothing outside the machine is reached, or skip."""
    cut_off = ["unshare", "--net", "--map-root-user"]
    if not shutil.which("unshare") or subprocess.run([*cut_off, "true"], capture_output=True).returncode:
        pytest.skip("the network cannot be taken away here")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "MAKE"))}
    options["env"] = {**environment, "PIP_CONFIG_FILE": os.devnull, **options.get("env", {})}
    return subprocess.run([*cut_off, *map(str, command)], capture_output=True, text=True, **options)


@NEEDS_MAKE
@pytest.mark.long
def test_without_a_network_set_up_takes_what_an_earlier_one_kept(tmp_path):
    checkout = a_checkout(tmp_path)
    done = without_network(["make", "setup", f"PYTHON={sys.executable}"], cwd=checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "from what an earlier set-up kept" in done.stdout and not done.stderr
    moved = checkout.rename(tmp_path.with_name("moved"))  # its environment goes with it
    command = [moved / ".venv" / "bin" / "vocalsynth", "recipes"]
    done = subprocess.run(command, cwd=moved / "..", capture_output=True, text=True)
    assert done.returncode == 0 and "world-units" in done.stdout, done.stderr
    code = "import vocalsynth_utils; print(vocalsynth_utils.__file__)"
    done = subprocess.run([command[0].with_name("python"), "-c", code], cwd="/", capture_output=True, text=True)
    assert Path(done.stdout.strip()).parent == moved / "vocalsynth_utils", done.stderr


@NEEDS_MAKE
@pytest.mark.long
def test_without_a_network_and_without_packages_there_is_one_line(tmp_path):
    nothing = {"UV_CACHE_DIR": str(tmp_path / "nothing")}
    done = without_network(["make", "setup", f"PYTHON={sys.executable}"], cwd=a_checkout(tmp_path), env=nothing)
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert done.returncode == 2 and len(said) == 1, done.stderr
    assert "the packages did not come" in said[0] and "with a network, type the same again" in said[0]


@NEEDS_MAKE
@pytest.mark.long
def test_set_up_works_in_a_folder_of_an_odd_name(tmp_path):
    odd = tmp_path / 'Anna\'s 100% "voice", take #2'
    odd.mkdir()
    done = make(a_checkout(odd), "setup", f"PYTHON={sys.executable}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Nothing to be done" in make(odd, "setup").stdout
    command = [odd / ".venv" / "bin" / "vocalsynth", "voice", "v.wav", "--seconds", "1"]
    done = subprocess.run(command, cwd=odd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_voice_that_an_installed_package_sings_with_is_the_one_that_ships():
    packed = set(re.findall(r'"pretrained" / "([\w-]+)"', (ROOT / "setup.py").read_text()))
    assert packed == {SHIPPED} and (ROOT / "data" / "pretrained" / SHIPPED / "best.npz").exists()


@pytest.mark.long
def test_pip_installs_a_package_that_sings_without_its_checkout(tmp_path):
    environment, away = tmp_path / "environment", tmp_path / "away"
    away.mkdir()
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip = [environment / "bin" / "python", "-m", "pip", "install", "--quiet"]
    done = subprocess.run([*pip, ROOT], cwd=away, capture_output=True, text=True)
    if "connection" in done.stderr and done.returncode:
        pytest.skip("the package index is not reached")
    assert done.returncode == 0, done.stderr
    sung = "generate world-units hello.wav --seconds 2 --primer none".split()
    done = subprocess.run([environment / "bin" / "vocalsynth", *sung], cwd=away, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (away / "hello.wav").stat().st_size == 44 + 2 * 2 * 16000
