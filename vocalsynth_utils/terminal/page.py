"""A page of sounds to compare: one HTML file that needs nothing else."""

import base64
import html
import io

import numpy as np

from .. import storage

MOST_SECONDS = 60  # of a sound on the page
STYLE = """body { font: 16px/1.5 system-ui, sans-serif; max-width: 46em; margin: 2em auto; padding: 0 1em;
  color-scheme: light dark } img { width: 100% } audio { width: 100% } pre { overflow-x: auto }"""


def write_page(path, title, lines, dataset, generated, recipe, table):
    """Write what is said of a run, `title`, `lines` and `table`, and its sounds; OSError where that fails.

    The test part of its `dataset`, as it is and as the frames of its `recipe` keep it; and what is `generated`, a float
    array of shape (n_samples,), full scale 1.
    """
    from .. import features

    text, sr, n = html.escape, recipe.sample_rate, MOST_SECONDS * recipe.sample_rate
    sounds = {"The voice, from the part it never heard": dataset.signal("test")[:n]}
    if not recipe.is_raw:
        rows = dataset.rows[slice(*dataset.ranges["test"])][:: dataset.rows_per_frame]
        said = features.decode(rows[: n // recipe.frame_length], recipe)
        sounds["The same through its frames: the best they can sound"] = np.clip(said, -1, 1)
    sounds["Generated"] = generated[:n]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{text(title)}</title>'
    parts = [f'<!DOCTYPE html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head><body>']
    parts += [f"<h1>{text(title)}</h1>", *(f"<p>{text(line)}</p>" for line in lines)]
    parts += [_sound(name, y, sr) for name, y in sounds.items()]
    parts.append(f"<details><summary>All that was measured</summary><pre>{text(table)}</pre></details></body></html>")
    with storage.atomic(path, "w") as file:
        file.write("\n".join(parts) + "\n")


def _sound(name, y, sr):
    """A heading, a player, and a picture of what it plays."""
    from matplotlib.figure import Figure

    from .. import audio, plots

    figure, picture = Figure(figsize=(9, 2.4), layout="constrained", dpi=90), io.BytesIO()
    plots.spectrogram(y, sr, figure.add_subplot())
    figure.savefig(picture, format="png")
    image = base64.b64encode(picture.getvalue()).decode()
    return f"""<h2>{name}</h2>{audio.player(y, sr)._repr_html_()}
<img alt="Spectrogram of {len(y) / sr:.0f} s: {name}" src="data:image/png;base64,{image}">"""
