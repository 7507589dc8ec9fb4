"""The pages in a real browser with the network off, and the parts they are made of."""

import base64
import importlib.util
import re
import sys
from pathlib import Path

import nbformat
import pytest
from browser import Browser

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
STORED = sorted([*NOTEBOOKS.glob("[0-9]*.ipynb"), *NOTEBOOKS.glob("solutions/*.ipynb")])
PLAYERS = """
Promise.all([...document.querySelectorAll("audio")].map(a => new Promise(done => {
  const title = (a.previousElementSibling || {innerText: ""}).innerText;
  const tell = () => done([title, a.duration]);
  if (a.readyState >= 1) tell(); else { a.onloadedmetadata = tell; a.onerror = () => done([title, null]); a.load(); }
})))"""
TEXTS = """[...document.querySelectorAll("p, li, td, th, h1, h2, h3, math")].map(part => {
  const copy = part.cloneNode(true);
  copy.querySelectorAll("code").forEach(c => c.remove());
  return copy.textContent; })"""
WIDE = """[...document.querySelectorAll(".input_area pre, .output_area")].filter(p => p.scrollWidth > p.clientWidth + 1)
  .map(p => p.innerText.slice(0, 400))"""
TEX = re.compile(r"\\[a-zA-Z]+|\$\$|\$\S[^$]*\$")
PIXEL = base64.b64encode(b"not looked at").decode()


def module(name):
    sys.path.insert(0, str(NOTEBOOKS))
    try:
        spec = importlib.util.spec_from_file_location(name, NOTEBOOKS / f"{name}.py")
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
    finally:
        sys.path.remove(str(NOTEBOOKS))
    return loaded


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """The pages of all stored notebooks, as `make` would make them."""
    run = module("run")
    run.BUILD = tmp_path_factory.mktemp("build")
    (run.BUILD / "solutions").mkdir()
    for lesson in run.LESSONS:
        (run.BUILD / lesson.name).write_bytes(lesson.read_bytes())
    run.make_pages()
    return run.BUILD


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    started = Browser(tmp_path_factory.mktemp("chromium"))
    yield started
    started.close()


def name(path):
    return str(path.relative_to(NOTEBOOKS))


def look_at(browser, page):
    """What a reader without a network finds on a page."""
    browser.open(page.as_uri())
    assert not [address for address in browser.asked if not address.startswith(("file:", "data:"))]
    assert not [text for text in browser.js(TEXTS) if TEX.search(text)]
    assert browser.js("document.querySelectorAll('script').length") == 0
    links = browser.js("[...document.querySelectorAll('a[href]')].map(a => a.getAttribute('href'))")
    local = [link for link in links if not re.match("https?://|#", link)]
    assert local and not [link for link in local if not (page.parent / link.split("#")[0]).exists()]
    ids = set(browser.js("[...document.querySelectorAll('[id]')].map(e => e.id)"))
    assert not [link for link in links if link.startswith("#") and link[1:] not in ids]
    for title, duration in browser.js(PLAYERS):
        assert duration, f"no sound: {title}"
        stated = re.search(r"(\d+(?:\.\d+)?) s\b", title)
        assert not stated or abs(duration - float(stated[1])) < 0.3, (title, duration)
    pictures = browser.js("[...document.images].map(i => [i.alt, i.naturalWidth])")
    assert not [alt for alt, width in pictures if not width or len(alt) < 12 or "No description" in alt]
    assert browser.js(WIDE) == []
    browser.open(page.as_uri(), width=700)
    assert browser.js("document.documentElement.scrollWidth") <= 700


@pytest.mark.slow
@pytest.mark.parametrize("path", STORED, ids=name)
def test_a_page_is_whole_without_a_network(browser, build, path):
    look_at(browser, build / path.relative_to(NOTEBOOKS).with_suffix(".html"))


@pytest.mark.slow
def test_the_index_leads_to_every_page_and_plays(browser, build):
    look_at(browser, build / "index.html")
    links = browser.js("[...document.querySelectorAll('a[href]')].map(a => a.getAttribute('href'))")
    pages = {str(p.relative_to(build)) for p in build.rglob("*.html")} - {"index.html"}
    assert {link for link in links if "//" not in link} == pages and len(browser.js(PLAYERS)) == 1


def test_equations_hold_nothing_of_tex():
    pages = module("pages")
    for path in STORED:
        prose = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown")
        for tex in re.findall(r"\$\$(.+?)\$\$|\$(\S.*?)\$", re.sub("`[^`]*`", "", prose), re.S):
            made = pages.mathml("".join(tex), "inline")
            assert made.startswith("<math") and "\\" not in made, (path.name, tex)


def test_a_widget_stands_on_the_page_as_it_was_left():
    pages = module("pages")
    model = lambda kind, **values: {"state": {"_model_name": f"{kind}Model", **values}}
    state = {
        "box": model("VBox", children=["IPY_MODEL_slider", "IPY_MODEL_picture", "IPY_MODEL_empty", "IPY_MODEL_words"]),
        "slider": model("IntSlider", description="frame", value=2, max=7),
        "picture": model("Image", tooltip="level <of> 2") | {"buffers": [{"path": ["value"], "data": PIXEL}]},
        "empty": model("Image"),
        "words": model("HTML", value="<b>words</b>"),
    }
    output = nbformat.v4.new_output("display_data", {pages.VIEW: {"model_id": "box"}})
    cell = nbformat.v4.new_code_cell("board", outputs=[output])
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {pages.STATE: {"state": state}}})
    shown = pages.with_pictures(notebook).cells[0].outputs[0].data["text/html"]
    assert "frame: 2, of 0 to 7" in shown and "<b>words</b>" in shown
    assert shown.count("<img") == 1 and f'base64,{PIXEL}" alt="level &lt;of&gt; 2"' in shown
