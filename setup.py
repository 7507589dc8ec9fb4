"""The installation: the packages this one needs, at the versions of requirements.lock, and the two that must be built.

Theano 1.0.5 and Lasagne 0.1 are on the package index as sources alone, and Theano's ask for a class that Python 3.12
dropped.  `make` puts `PUT_BACK` into its environment while it installs.  ``pip install .`` builds every package in an
environment that nothing reaches from outside; there the two are built here, and asked for as the files they became.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
BUILT_HERE = ("theano", "lasagne")
# A line of a .pth file: what Theano's setup.py asks of configparser.
PUT_BACK = (
    "import configparser as c; hasattr(c, 'SafeConfigParser') or setattr(c, 'SafeConfigParser', "
    "type('SafeConfigParser', (c.RawConfigParser,), {'readfp': c.RawConfigParser.read_file}))"
)


def asked_for(section):
    """Names of the packages in a section of requirements.in, e.g. ``"run time"``, or in requirements-ears.in."""
    if section == "ears":
        text = (ROOT / "requirements-ears.in").read_text()
    else:
        text = (ROOT / "requirements.in").read_text().split(f"\n# {section}\n")[1].split("\n\n")[0]
    return re.findall(r"^[\w.-]+", text, re.M)


def locked(names, lock="requirements.lock"):
    """Entries of a lock for these names, with versions, markers and hashes, as text."""
    entries = re.split(r"\n(?=\w)", (ROOT / lock).read_text())
    return [entry for entry in entries if _name(entry) in names]


def requirements(section):
    """What a section asks for, as setuptools wants it: each package at its locked version."""
    if section == "gpu":  # which no lock has
        return re.findall(r"^\w+==[^#\n]*[^#\s]", (ROOT / "requirements-gpu.in").read_text(), re.M)
    lock = "requirements-ears.lock" if section == "ears" else "requirements.lock"
    return [entry.splitlines()[0].rstrip(" \\") for entry in locked(asked_for(section), lock)]


def build_old_packages(folder):
    """Build Theano and Lasagne into wheels in `folder`, from the sources that the lock names."""
    with tempfile.TemporaryDirectory() as place:
        venv.create(place, with_pip=True)
        (site_packages,) = Path(place).glob("lib/python*/site-packages")
        (site_packages / "put_back.pth").write_text(PUT_BACK + "\n")
        settings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        for verb, names in (["install"], ["setuptools"]), (["wheel", "--no-deps", "--wheel-dir", folder], BUILT_HERE):
            wanted = Path(place) / "wanted.txt"
            wanted.write_text("\n".join(locked(names)))
            options = ["--quiet", "--no-build-isolation", "--require-hashes", "-r", wanted]
            subprocess.run([Path(place) / "bin" / "python", "-m", "pip", *verb, *options], env=settings, check=True)


def run_time():
    """The packages needed at run time, Theano and Lasagne as files where pip cannot build them."""
    needed = requirements("run time")
    if sys.version_info < (3, 12) or importlib.util.find_spec("theano"):
        return needed
    folder = ROOT / "build" / "wheels"  # kept: pip asks twice, then installs from here
    if len(list(folder.glob("*.whl"))) < len(BUILT_HERE):
        build_old_packages(folder)
    files = {path.name.split("-")[0].lower(): path for path in folder.glob("*.whl")}
    kept = [entry for entry in needed if _name(entry) not in files]
    return kept + [f"{name} @ {path.as_uri()}" for name, path in files.items()]


def _name(entry):
    """The package that a requirement or an entry of the lock is for."""
    return entry.split("==")[0]


if __name__ == "__main__":
    from setuptools import setup
    from setuptools.command.build_py import build_py

    class BuildPy(build_py):
        """The package with the voice that ships, so that it sings without a checkout."""

        def run(self):
            if self.editable_mode:
                return super().run()
            shutil.rmtree(self.build_lib, ignore_errors=True)  # what an older checkout left would be packed too
            super().run()
            kept = Path(self.build_lib) / "vocalsynth_utils" / "pretrained" / "world-units"
            shutil.copytree(ROOT / "data" / "pretrained" / "world-units", kept, dirs_exist_ok=True)

    setup(
        install_requires=run_time(),
        extras_require={name: requirements(name) for name in ("tests", "tools", "ears", "gpu")},
        cmdclass={"build_py": BuildPy},
    )
