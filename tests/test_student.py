"""The copy that a teacher hands out: whole, bare, and working where it stands."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
spec = importlib.util.spec_from_file_location("student", ROOT / "notebooks" / "student.py")
student = importlib.util.module_from_spec(spec)
spec.loader.exec_module(student)


@pytest.fixture(scope="module")
def handed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("class") / "student"
    student.hand_out(folder)
    return folder


def test_every_lesson_is_there_without_outputs_and_solutions_and_else_as_it_was(handed):
    lessons = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    assert [p.name for p in sorted(handed.glob("notebooks/*.ipynb"))] == [p.name for p in lessons]
    for lesson in lessons:
        bare = nbformat.read(handed / "notebooks" / lesson.name, as_version=4)
        nbformat.validate(bare)
        code = [cell for cell in bare.cells if cell.cell_type == "code"]
        assert not any(cell.outputs or cell.execution_count for cell in code)
        full = "\n".join(cell.source for cell in nbformat.read(lesson, as_version=4).cells)
        kept = [line for line in full.splitlines() if "](solutions/" not in line and line.strip()]
        assert [line for cell in bare.cells for line in cell.source.splitlines() if line.strip()] == kept
        assert len(full.splitlines()) > len(kept) and "solutions/" not in "\n".join(kept)


def test_nothing_of_the_teachers_and_nothing_made_here_is_in_it(handed):
    assert (
        not list(handed.rglob("solutions")) and not list(handed.rglob("prepared")) and not list(handed.rglob("*.wav"))
    )
    assert not [path for path in handed.rglob("*") if path.name in ("__pycache__", ".venv", ".git", "build")]
    assert sum(path.stat().st_size for path in handed.rglob("*") if path.is_file()) < 30e6


@pytest.mark.slow
def test_code_of_a_notebook_finds_package_and_data_where_the_copy_stands(handed):
    code = "import json, vocalsynth_utils as v; run = v.runs.open_run('../data/pretrained/world-units'); "
    code += "print(json.dumps([v.__file__, run.recipe.name, str(v.synthetic.built_in.__code__.co_filename)]))"
    environment = dict(os.environ, PYTHONPATH=str(handed))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=handed / "notebooks", env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    package, name, file = json.loads(done.stdout)
    assert Path(package).is_relative_to(handed) and Path(file).is_relative_to(handed) and name == "world-units-large"


@pytest.mark.slow
def test_a_folder_that_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "mine").mkdir()
    command = [sys.executable, str(ROOT / "notebooks" / "student.py"), str(tmp_path / "mine")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (
        done.returncode == 2 and "exists; name a folder that does not" in done.stderr and "Traceback" not in done.stderr
    )
