"""Pages of notebooks that need nothing from elsewhere: equations as MathML, widgets as they stood, no script."""

import html
import re
from html.parser import HTMLParser

from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter

TITLE = "Generating vocals with a recurrent network"
VIEW, STATE = "application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json"
KNOWN = {r"{aligned}": "{split}", r"\big\lVert": r"\lVert", r"\big\rVert": r"\rVert", r"\_": "_"}  # to the converter
STYLE = """
:root { color-scheme: light dark; --ink: #1f2933; --back: #ffffff; --soft: #f5f7fa; --line: #dbe1e8; --link: #0b5cad; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #dfe5ec; --back: #14181d; --soft: #1e242b; --line: #36404b; --link: #7cb8ff; } }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: var(--back); font: 1.03rem/1.6 system-ui, "Segoe UI", sans-serif; }
main, nav { max-width: 62rem; margin: 0 auto; padding: 0 1.2rem; }
main p, main li, main h1, main h2, main h3, main table { max-width: 46rem; }
nav { display: flex; justify-content: space-between; gap: 1rem; padding-block: .9rem; font-size: .95rem; }
a { color: var(--link); } a.anchor-link { display: none; }
h1 { line-height: 1.25; } h2 { margin-top: 2.4rem; line-height: 1.3; }
pre { margin: 0; font: .8rem/1.45 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; overflow-x: auto; }
.input_area, .text_cell_render pre { padding: .6rem .8rem; margin: .8rem 0 .4rem; background: var(--soft);
  border: 1px solid var(--line); border-radius: 6px; overflow-x: auto; }
.input_area .highlight, .input_area pre { background: none; }
.output_area { padding: .15rem .8rem; overflow-x: auto; } .prompt { display: none; }
img { max-width: 100%; height: auto; }
audio { display: block; width: 100%; max-width: 26rem; margin: .2rem 0 .7rem; }
table { border-collapse: collapse; margin: .8rem 0; }
td, th { padding: .3rem .7rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
math { font-size: 1.08em; } math[display=block] { overflow-x: auto; overflow-y: hidden; padding: .3rem 0; }
mtd[columnalign=right] { text-align: right; } mtd[columnalign=left] { text-align: left; }
.still { color: var(--ink); opacity: .75; font-size: .9rem; } .lessons li { margin: .9rem 0; }
@media (max-width: 760px) {
  body { font-size: 1rem; } .input_area pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  .output_text pre { font-size: .68rem; } }
"""


def mathml(tex, display):
    """TeX as MathML; nothing of it is left to a script."""
    for word, other in KNOWN.items():
        tex = tex.replace(word, other)
    tex = re.sub(r"\\math(cal|bb) (\w)", r"\\math\1{\2}", tex)
    return convert(tex.strip(), display=display)


class Renderer(IPythonRenderer):
    """Markdown as HTML, with equations as MathML and links between notebooks as links between their pages."""

    def block_math(self, body):
        return mathml(body, "block")

    def inline_math(self, body):
        return mathml(body, "inline")

    def link(self, text, url, title=None):
        return super().link(text, re.sub(r"\.ipynb(?=$|#)", ".html", url), title)


class Exporter(HTMLExporter):
    """The body of a page."""

    template_name = "basic"

    def markdown2html(self, source):
        return MarkdownWithMath(renderer=Renderer(escape=False, exclude_anchor_links=True)).render(source)


def still(widget, state):
    """What a widget showed when its notebook ended, as HTML without controls, which only a kernel could answer."""
    model = state.get(widget.removeprefix("IPY_MODEL_"), {"state": {}})
    values, kind = model["state"], model["state"].get("_model_name", "")
    if "children" in values:
        return "".join(still(child, state) for child in values["children"])
    if kind == "HTMLModel":
        return f"<div>{values.get('value', '')}</div>"
    picture = next((part["data"] for part in model.get("buffers", ()) if part["path"] == ["value"]), "")
    if kind == "ImageModel" and picture:
        return (
            f'<img src="data:image/png;base64,{picture}" alt="{html.escape(values.get("tooltip") or "", quote=True)}">'
        )
    chosen = values.get("_options_labels") or range(values.get("max", 0) + 1) if "Slider" in kind else ()
    at = chosen[values.get("index", values.get("value", 0))] if chosen else None
    return f"<div class=still>{values['description']}: {at}, of {chosen[0]} to {chosen[-1]}</div>" if chosen else ""


def with_pictures(notebook):
    """The notebook with each widget replaced by what it showed."""
    state = notebook.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    for output in (o for cell in notebook.cells for o in cell.get("outputs", ()) if VIEW in o.get("data", {})):
        note = "<div class=still>In JupyterLab this can be moved; here it stands as it was.</div>"
        output.data = {"text/html": note + still(output.data[VIEW]["model_id"], state)}
    notebook.metadata.pop("widgets", None)
    return notebook


def title(notebook):
    """Its first heading."""
    found = re.search(r"^# (.+)$", notebook.cells[0].source, re.M)
    return found[1] if found else "A notebook"


def shell(heading, body, links):
    """A whole page around a body; `links` are of what comes before and after, as (address, text)."""
    light, dark = (HtmlFormatter(style=name).get_style_defs(".highlight") for name in ("friendly", "github-dark"))
    colours = f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n"
    nav = "<nav>" + "".join(f'<a href="{address}">{html.escape(text)}</a>' for address, text in links) + "</nav>"
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
    # what the style of code says comes first, so that the page's own decides on the background
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}<title>{html.escape(heading)}</title>\n'
        f"<style>{colours}{STYLE}</style></head>\n<body>{nav}<main>\n{body}\n</main>{nav}</body></html>\n"
    )


def page(notebook, before=None, after=None, up=""):
    """The page of an executed notebook; `before` and `after` are (address, title) of its neighbours, if any."""
    body = Exporter().from_notebook_node(with_pictures(notebook))[0]
    links = [(before[0], f"← {before[1]}")] if before else []
    links += [(f"{up}index.html", "All lessons")] + ([(after[0], f"{after[1]} →")] if after else [])
    return shell(title(notebook), body, links)


class _Players(HTMLParser):
    """Finds the source of the first player."""

    found = None

    def handle_starttag(self, tag, attrs):
        if tag == "source" and self.found is None:
            self.found = dict(attrs).get("src")


def index(lessons):
    """The page that leads to all others; `lessons` are (address, solutions' address, executed notebook)."""
    players, rows = _Players(), []
    for address, solutions, notebook in lessons:
        for output in (o for cell in notebook.cells for o in cell.get("outputs", ())):
            players.feed(output.get("data", {}).get("text/html", ""))
        what = notebook.cells[0].source.partition("\n\n")[2].split("\n\n")[0]
        also = f' <a href="{solutions}">Solutions</a>' if solutions else ""
        what = Exporter().markdown2html(what).removeprefix("<p>").removesuffix("</p>\n")
        rows.append(f'<li><a href="{address}">{html.escape(title(notebook))}</a><br>{what}{also}</li>')
    heard = f'<p>What you will have made by the end:</p><audio controls src="{players.found}"></audio>'
    body = f"<h1>{TITLE}</h1>{heard if players.found else ''}<ul class=lessons>{''.join(rows)}</ul>"
    return shell(TITLE, f"{body}<p>To run them yourself: <code>make lab</code>.</p>", [])
