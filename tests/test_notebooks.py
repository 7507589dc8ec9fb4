"""Facts about the stored notebooks; `pytest --nbval notebooks` runs them."""

import re
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9]*.ipynb"))
SOLUTIONS = sorted(FOLDER.glob("solutions/*.ipynb"))
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|root|work|tmp|Users|mnt|var|opt|usr)/")


def name(path):
    return str(path.relative_to(FOLDER))


def read(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_cells(notebook):
    return [c for c in notebook.cells if c.cell_type == "code"]


def prose(notebook):
    return "\n\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")


def outputs(notebook):
    return [o for c in code_cells(notebook) for o in c.outputs]


def texts(output):
    """Everything in an output that a person reads."""
    data = output.get("data", {})
    return [
        str(output.get("text", "")),
        *(str(v) for k, v in data.items() if k.startswith("text/") and "base64" not in str(v)),
    ]


every_notebook = pytest.mark.parametrize("path", NOTEBOOKS + SOLUTIONS, ids=name)
every_lesson = pytest.mark.parametrize("path", NOTEBOOKS, ids=name)


def test_the_first_four_lessons_are_there():
    assert [p.stem for p in NOTEBOOKS][:4] == [
        "01_preprocessing",
        "02_lstm_definition",
        "03_gpu_training",
        "04_generation",
    ]


@every_notebook
def test_code_cells_are_short(path):
    assert max(len(c.source.splitlines()) for c in code_cells(read(path))) <= 20


@every_notebook
def test_stored_as_run_from_top_to_bottom_in_a_fresh_kernel(path):
    cells = code_cells(read(path))
    assert [c.execution_count for c in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        if "plt.show()" in cell.source:
            assert any("image/png" in o.get("data", {}) for o in cell.outputs), f"no figure: {cell.source}"
        if re.search(r"^print\(", cell.source, re.M):
            assert any(o.output_type == "stream" and o.name == "stdout" for o in cell.outputs), (
                f"nothing printed: {cell.source}"
            )


@every_notebook
def test_no_errors_and_no_warnings_are_stored(path):
    stored = outputs(read(path))
    assert not [o for o in stored if o.output_type == "error"]
    assert not [o.text for o in stored if o.output_type == "stream" and o.name == "stderr"]


@every_notebook
def test_small_enough_to_read_online(path):
    assert path.stat().st_size < 1.5e6


@every_notebook
def test_no_path_of_the_machine_it_was_run_on(path):
    notebook = read(path)
    shown = [c.source for c in notebook.cells] + [t for o in outputs(notebook) for t in texts(o)]
    assert not [t for t in shown if MACHINE_PATH.search(t)]


@every_notebook
def test_opens_with_the_kernel_everybody_has(path):
    assert read(path).metadata.kernelspec.name == "python3"


@every_lesson
def test_one_title_a_summary_and_three_exercises_with_solutions(path):
    text = prose(read(path))
    assert len(re.findall(r"^# ", text, re.M)) == 1
    assert "\n## Summary" in text
    exercises = text.split("\n## Exercises")[1]
    assert len(re.findall(r"^\d+\. ", exercises, re.M)) == 3
    linked = re.findall(r"\]\((solutions/[^)]+)\)", exercises)
    assert linked and all((FOLDER / link).exists() for link in linked)


@every_lesson
def test_more_words_than_code(path):
    notebook = read(path)
    code = "\n".join(c.source for c in code_cells(notebook))
    assert len(re.findall(r"\w+", prose(notebook))) > len(re.findall(r"[A-Za-z_]\w*", code))


@every_lesson
def test_begins_with_its_imports_in_one_cell(path):
    first, *others = code_cells(read(path))
    assert "vocalsynth_utils" in first.source
    assert not [c.source for c in others if re.search(r"^(import|from) ", c.source, re.M)]
