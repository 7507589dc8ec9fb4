"""The house as docs/design.md draws it: rooms, arrows between them, sizes; run as a program it prints the arrows."""

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "vocalsynth_utils"
COURSE = "preprocessing dataset baselines model losses updates training generation remedies pipeline __main__".split()


def modules():
    """Every module's dotted name within the package, with its path."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


def room(module):
    """A folder is one room, a file at the top a room of its own."""
    return module.split(".")[0]


def imports(module, path, known):
    """Modules of the package that one imports, wherever in the file it says so."""
    package = module.split(".") if path.name == "__init__.py" and module else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            for name in (".".join([*base, alias.name]) for alias in node.names):
                yield name if name in known else ".".join(base)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from (name.partition(".")[2] for name in names if name.split(".")[0] == PACKAGE.name)


def arrows():
    """The rooms that each room imports, as dict of str to sorted list."""
    known, found = modules(), {}
    for module, path in known.items():
        here = room(module) or "__init__"
        there = {room(name) for name in imports(module, path, known) if name}
        found.setdefault(here, set()).update(there - {here})
    return {here: sorted(there) for here, there in sorted(found.items())}


def drawn():
    """The arrows in docs/design.md: lines ``room -> room, room`` of its code block."""
    block = (ROOT / "docs" / "design.md").read_text().split("```arrows\n")[1].split("```")[0]
    lines = re.findall(r"^(\w+) -> ?(.*)$", block, re.M)
    return {here: [name for name in re.split(r",\s*", there) if name] for here, there in lines}


def floor(name, below, above=()):
    """The longest way of imports down from a room, counted in rooms; fails on a circle."""
    assert name not in above, " -> ".join([*above, name])
    return 1 + max((floor(other, below, (*above, name)) for other in below[name]), default=0)


def lines_of(paths):
    return sum(path.read_text().count("\n") for path in paths)


def test_imports_between_rooms_are_those_in_docs_design():
    assert arrows() == drawn()


def test_imports_go_one_way_and_not_far():
    below = arrows()
    assert max(floor(name, below) for name in below) <= 10


def test_the_root_shows_the_course_and_the_rooms():
    files = [path for path in PACKAGE.glob("*.py")]
    folders = [path for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert len(files) <= 14 and len(folders) <= 16
    assert {path.stem for path in files} == {*COURSE, "__init__", "theano_setup"}


def test_the_package_stays_small():
    assert lines_of(PACKAGE / f"{name}.py" for name in COURSE) <= 2600
    assert lines_of(PACKAGE.rglob("*.py")) <= 13665


def test_tables_on_pages_are_those_of_what_was_measured():
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    for page in tables.PAGES:
        text = page.read_text()
        assert tables.filled(text) == text, f"{page.name} is older than data/measured; run python docs/tables.py"


def test_no_line_is_too_long():
    paths = [*PACKAGE.rglob("*.py"), *(ROOT / "tests").glob("*.py"), *(ROOT / "data").rglob("*.py")]
    assert not [path for path in paths if any(len(line) > 120 for line in path.read_text().splitlines())]


def test_every_room_has_a_face_that_says_what_it_is():
    for face in PACKAGE.glob("*/__init__.py"):
        text = face.read_text()
        assert len(ast.get_docstring(ast.parse(text)).split()) > 5 and "__all__" in text, face.parent.name


def test_the_package_is_a_map_whose_places_load_when_they_are_used():
    code = "import sys, vocalsynth_utils as v; assert 'theano' not in sys.modules; v.recipes.get('2016'); v.nowhere"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "AttributeError: module 'vocalsynth_utils' has no attribute 'nowhere'" in done.stderr
    described = (PACKAGE / "__init__.py").read_text()
    assert all(name in described for name in {*arrows()} - {"__init__", "__main__", "theano_setup"})


def test_what_a_recipe_is_is_asked_in_the_places_for_it():
    asked = re.compile(r"\.(loss|features) (==|!=|in|not in) ")
    allowed = {"recipes/recipe.py", "losses.py", "features/codec.py"}
    places = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if asked.search(path.read_text())}
    assert places <= allowed


if __name__ == "__main__":
    for here, there in arrows().items():
        print(f"{here} -> {', '.join(there)}")
